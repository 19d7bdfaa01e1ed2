"""The stages of a freezing schedule, resolved against a model and applied to it."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy

from ftlight.data.module import DataModule
from ftlight.freezing import head, unfreeze
from ftlight.freezing.cache import Cache, PrefixCache
from ftlight.freezing.progress import WAY_OUT, Progress
from ftlight.freezing.schedule import Stage, frozen_layers
from ftlight.freezing.tap import reach
from ftlight.models.layers import layer_groups, module_layers, norm_parameters
from ftlight.models.modes import compiled, train_layers
from ftlight.run import former
from ftlight.training.lightning_internals import datamodule
from ftlight.utils import format as fmt
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)
HeadFit = Literal["solve", "step"]


class Stages(L.Callback):
    """The stages of a schedule, resolved against a model and applied to it.

    Attributes:
        progress: where the run stands.
        layers: names of parameters by layer, bottom to top.
        numel: numbers in each parameter.
        trainable_params: names of the parameters that train in each stage.
        trainable_layers: names of the layers that train in each stage.
        eligible: parameters that may train at all.
        draws: random draws of training rows that epochs with frozen layers take in turn; 0 if each
            epoch has its own.
    """

    def __init__(
        self,
        option: str | list[dict[str, Any]],
        *,
        lr: float,
        lr_given: bool,
        defaults: Mapping[str, Any],
        cache: Cache = "auto",
        cache_gb: float = 4.0,
        head_fit: HeadFit = "solve",
        cache_draws: int = 0,
    ) -> None:
        self.option = option
        self.lr = lr
        self.lr_given = lr_given
        self.defaults = dict(defaults)
        self.cache = cache
        self.head_fit = head_fit
        self.stepped = ""  # why a head that could be solved is stepped
        self.prefix_cache = PrefixCache(cache_gb)
        self.cache_draws = cache_draws
        self.draws = 0
        self.progress = Progress([], 0)
        self.stores: list[int | None] = []  # cut of the store that each stage reads
        self.eligible: set[str] = set()
        self.task: Any = None
        self.data: Any = None
        self.fitting = False
        self.entered: int | None = None  # the last stage that has run a batch

    @property
    def stage(self) -> int:
        """Number of the running stage, from 0."""
        return self.progress.stage

    @property
    def trains_head_alone(self) -> bool:
        """Whether nothing below the head trains in any stage."""
        return set().union(*self.trainable_params) <= set(self.layers.get("head", ()))

    @property
    def trained_weights(self) -> int:
        """How many weights train in some stage."""
        return sum(self.numel[name] for name in set().union(*self.trainable_params))

    # Resolving

    def check(self, task: Any) -> None:
        """Resolves the schedule against a model; what is frozen in it now never trains.

        Raises:
            UserError: a selector matches nothing.
        """
        self.eligible = {n for n, p in task.model.named_parameters() if p.requires_grad}
        self.stepped = ""
        self.resolve(task)

    def resolve(self, task: Any) -> None:
        """Works out the stages, and the parameters and layers that train in each."""
        self.layers = layer_groups(task.model)
        self.module_layers = module_layers(task.model)
        self.numel = {n: p.numel() for n, p in task.model.named_parameters()}
        parameters = unfreeze.Parameters(
            self.layers, self.numel, norm_parameters(task.model), self.eligible
        )

        def resolved(solves: bool) -> tuple[list[Stage], list[set[str]]]:
            return unfreeze.resolve(
                self.option,
                parameters,
                self.defaults,
                lr=self.lr,
                lr_given=self.lr_given,
                monitor=task.monitor,
                solves=solves,
            )

        stages, self.trainable_params = resolved(self.head_fit == "solve" and not self.stepped)
        if any(s.solved for s in stages) and (reason := self._why_stepped(task, len(stages))):
            self.stepped = reason
            stages, self.trainable_params = resolved(False)
        self.trainable_layers = [
            {layer for layer, names in self.layers.items() if not params.isdisjoint(names)}
            for params in self.trainable_params
        ]
        self.progress = Progress(stages, step=0)

    def _why_stepped(self, task: Any, stages: int) -> str:
        """Why a head is stepped though its stage could be solved, or nothing."""
        if self.lr_given and stages == 1:
            return "model.lr is given"
        return head.refusal(task)

    def step_head(self, reason: str) -> None:
        """Gives the head a stage with steps after all."""
        begun = self.progress.stage_starts[:1]
        self.stepped = reason
        self.resolve(self.task)
        self.progress.stage_starts = begun

    def give_lr(self, lr: float) -> None:
        """Changes the rate of the whole model, before the first step."""
        begun, self.lr = self.progress.stage_starts[:1], lr
        self.resolve(self.task)
        self.progress.stage_starts = begun

    def cut(self, stage: int) -> int:
        """How many frozen layers at the bottom of a stage can be skipped."""
        frozen = frozen_layers(self.trainable_layers[stage], list(self.layers))
        return reach(self.task.model, frozen)

    # Draws of rows. They depend on options and steps alone, never on whether they are stored:
    # a run without room for them trains on the same rows.

    def _count_draws(self, trainer: Any) -> None:
        """Works out how many draws there are, and whether the first epoch takes them."""
        data = self.data = datamodule(trainer)
        repeats = isinstance(data, DataModule) and data.varies and bool(data.augmentation)
        frozen = any(self.cut(stage) for stage in range(len(self.progress.stages)))
        self.draws = self.cache_draws if repeats and frozen else 0
        self._set_draws(self.stage)

    def _set_draws(self, stage: int) -> None:
        """Tells the data whether an epoch that begins in a stage takes draws in turn.

        It does if layers at the bottom are frozen then. Once it has begun, processes that load
        batches work ahead: a change of stage within it comes too late.
        """
        if isinstance(self.data, DataModule):
            self.data.draws = self.draws if self.cut(stage) else 0

    def _due_stage(self, trainer: Any) -> int:
        """Number of the stage that is due at the next step, which is not entered yet."""
        ahead = copy.deepcopy(self.progress)
        ahead.advance(trainer.global_step)
        return ahead.stage

    # State

    def options(self) -> dict[str, Any]:
        """The options of the model that a run which goes on keeps if they are not given."""
        over = self.defaults.get("lr_over", "stage")
        return {"unfreeze": self.option, "lr_over": over, "head_fit": self.head_fit}

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands in its schedule, the options behind that, the draws of its rows."""
        draws = [self.draws, getattr(self.data, "draws", 0)]  # of all, and now
        return {**self.progress.state_dict(), "options": self.options(), "draws": draws}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes in the stage of a checkpoint, and applies it before DDP sees the model.

        Raises:
            UserError: the checkpoint belongs to another schedule, or number of draws; shows both.
        """
        if not self.fitting:
            return
        self._keep_options(former.saved(state))
        began_stepped = not any(stage.get("solved") for stage in state["schedule"])
        if self.progress.solves and began_stepped:  # by 0.1, or for want of a way
            self.step_head("the run began so")
        self.progress.load_state_dict(state, self.option)
        draws, now = state.get("draws", (0, 0))  # 0.1 had none, and its runs go on without
        if draws and self.draws not in (0, draws):
            raise UserError(
                f"model.cache_draws: the run began with {draws}, this is {self.draws}; {WAY_OUT}"
            )
        if self.draws:
            self.draws = draws
            self.data.draws = now
        self._apply()

    def _keep_options(self, saved: Mapping[str, Any]) -> None:
        """Takes the options that the user did not give from a checkpoint; says what changes."""
        options = self.options()
        given = {name for name, value in self.task.options_given.items() if value is not None}
        for name in sorted(options.keys() - given):
            if options[name] != saved[name]:
                log.info("model.%s: %s, as in the checkpoint", name, saved[name])
                options[name] = saved[name]
        if options != self.options():
            self.option, self.head_fit = options["unfreeze"], options["head_fit"]
            self.defaults["lr_over"] = options["lr_over"]
            self.resolve(self.task)

    # Applying

    def _apply(self) -> None:
        """Sets which parameters require gradients, and the modes. Can be repeated."""
        trainable = self.trainable_params[self.stage]
        for name, parameter in self.task.model.named_parameters():
            if parameter.requires_grad != (name in trainable):
                parameter.requires_grad_(name in trainable)
            parameter.grad = None
        self._set_modes()

    @contextlib.contextmanager
    def trying(self, stage: int) -> Iterator[None]:
        """Has the model train what a stage trains, for a while; DDP is not told."""
        before = self.progress.stage
        try:
            self.progress.stage = stage
            self._apply()
            yield
        finally:
            self.progress.stage = before
            self._apply()

    def _set_modes(self) -> None:
        self.task.train()  # transformers loads models in eval mode, and Lightning leaves them there
        layers, params = self.trainable_layers[self.stage], self.trainable_params[self.stage]
        train_layers(self.task.model, self.module_layers, layers, params)

    def _advance(self, trainer: Any) -> None:
        """Changes to the stage that is due at this step."""
        store = self.stores[self.stage]
        if self.progress.advance(trainer.global_step):
            self._enter(trainer, store)
            log.info(self.line())

    def _enter(self, trainer: Any, store: int | None) -> None:
        """Has the model, and what depends on what trains, follow the stage.

        Args:
            trainer: the trainer.
            store: the store that the stage before it read.
        """
        if self.stores[self.stage] is None or self.stores[self.stage] != store:
            self.prefix_cache.end()
        self._apply()
        if isinstance(trainer.strategy, DDPStrategy):
            # Its reducer knows only the parameters that required gradients when it was made.
            trainer.strategy.model = self.task
            trainer.strategy.configure_ddp()
        if compiled(self.task):
            torch.compiler.reset()
        for stopping in trainer.early_stopping_callbacks:
            stopping.wait_count = 0

    def line(self) -> str:
        """The stage in one line: when it starts, what trains, and the learning rate."""
        stage, start = self.progress.current, self.progress.stage_starts[-1]
        training = sum(self.numel[name] for name in self.trainable_params[self.stage])
        rate = "solved" if stage.solved else f"lr {fmt.rate(stage.lr)}"
        return (
            f"stage {self.stage + 1} of {len(self.progress.stages)} from step {start:,}:"
            f" {', '.join(stage.train)}; {fmt.count(training)} of"
            f" {fmt.count(sum(self.numel.values()))} parameters train, {rate}"
        )
