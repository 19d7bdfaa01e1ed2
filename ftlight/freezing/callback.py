"""Applies a freezing schedule to a task while it trains: what requires gradients, which mode, which rate, from which cache."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy

from ftlight.freezing import schedule as plans
from ftlight.freezing import store as prefix_cache
from ftlight.freezing.cache import Cache, PrefixCache, epochs_of
from ftlight.freezing.schedule import Stage
from ftlight.freezing.tap import reach
from ftlight.models.layers import layer_groups, layer_of, module_layers, norm_parameters, num_layers
from ftlight.models.modes import compiled
from ftlight.run.state import state_of
from ftlight.training import optim
from ftlight.utils import format as fmt
from ftlight.utils import internals
from ftlight.utils.errors import UserError, did_you_mean, join_limited

log = logging.getLogger(__name__)
LOWER = ("loss", "mse", "mae", "rmse", "error", "perplexity")  # values that are better when lower


class Freezing(L.Callback):
    """Freezes and thaws layers stage by stage.

    Every parameter stays in its optimizer group from the first step to the last; a stage only says which require
    gradients. Frozen layers are in eval mode, have no gradients and rate 0, and are run once where that pays. Processes
    are wrapped anew at a change, since DDP only knows the parameters that required gradients when it was made. The state
    in a checkpoint is the number of the stage and where stages began.

    Args:
        option: the value of ``unfreeze``, as :func:`ftlight.freezing.schedule.read` gives it.
        lr: rate of the whole model, for stages that name none.
        given: whether a user gave that rate.
        defaults: ``layer_decay``, ``warmup`` and ``lr_schedule`` of stages that name none.
        cache: whether activations of frozen layers are kept: true, false, or auto where it saves time.
        cache_gb: the most that kept activations may take on the disk.
    """

    def __init__(
        self,
        option: Any,
        *,
        lr: float,
        given: bool,
        defaults: Mapping[str, Any],
        cache: Cache = "auto",
        cache_gb: float = 4.0,
    ) -> None:
        self.option, self.lr, self.given, self.defaults, self.cache = (
            option,
            lr,
            given,
            dict(defaults),
            cache,
        )
        self.cached = PrefixCache(cache_gb)
        self.stages: list[Stage] = []
        self.stores: list[int | None] = []
        self.eligible: set[str] = set()
        self.task: Any = None
        self.fitting = False
        self._begin(0)

    def _begin(self, step: int) -> None:
        self.stage, self.begins = 0, [step]
        self._watch()

    def _watch(self) -> None:
        self.best: float | None = None
        self.waited, self.ended, self.entered = 0, False, False

    # Resolving

    def setup(self, trainer: Any, task: Any, stage: str) -> None:
        """Resolves the schedule against the model and applies its first stage, before the optimizer and DDP see the model."""
        self.fitting = stage == "fit"
        if not self.fitting:
            return
        self.task = task
        self._begin(trainer.global_step)
        self.check(task)
        late = trainer.strategy.restore_checkpoint_after_setup or isinstance(
            trainer.strategy, DeepSpeedStrategy
        )
        if len(self.stages) > 1 and late:
            name = type(trainer.strategy).__name__
            raise UserError(
                f"model.unfreeze: {name} takes one stage only, not {len(self.stages)}; use trainer.strategy: ddp, or one word"
            )
        self._apply()

    def check(self, task: Any) -> None:
        """Resolves the schedule against a model; what is frozen in it now never trains.

        Raises:
            UserError: a selector matches nothing.
        """
        self.eligible = {n for n, p in task.model.named_parameters() if p.requires_grad}
        self.resolve(task)

    def resolve(self, task: Any) -> None:
        """Stages, and the names of what trains in each."""
        self.layers = layer_groups(task.model)
        trainable = {
            k: [n for n in names if n in self.eligible] for k, names in self.layers.items()
        }
        trainable = {k: names for k, names in trainable.items() if names}
        self.numel = {n: p.numel() for n, p in task.model.named_parameters()}
        norms = norm_parameters(task.model)
        given = (
            self.option
            if isinstance(self.option, list)
            else plans.expand(self.option, list(self.layers))
        )
        self.stages, self.chosen = [], []
        for i, options in enumerate(given):
            where = (
                f"model.unfreeze.{i}.train" if isinstance(self.option, list) else "model.unfreeze"
            )
            self.chosen.append(plans.select(options["train"], trainable, norms, where))
            rate = plans.default_rate(self.chosen[-1], self.layers, self.numel, self.lr)
            if self.given and (
                len(given) == 1 or not self.chosen[-1] <= set(self.layers.get("head", ()))
            ):
                rate = (
                    self.lr
                )  # one rate for a whole model is not meant for a head alone in a stage of its own
            settings = {
                "lr": rate,
                **self.defaults,
                **{k: v for k, v in options.items() if v is not None},
            }
            if settings.get("patience") is not None:
                settings = {"monitor": task.monitor, **settings}
            self.stages.append(Stage(**settings))
        self.found = module_layers(task.model)
        self.trained = [
            {k for k, names in self.layers.items() if chosen & set(names)} for chosen in self.chosen
        ]

    def cut(self, stage: int) -> int:
        """Frozen layers at the bottom of a stage that need not be run: all of them where the head alone trains."""
        depth = num_layers(self.layers)
        lowest = next(k for k in self.layers if k in self.trained[stage])
        fixed = {"embeddings": 0, "post": depth - 1, "head": depth}
        return reach(
            self.task.model,
            fixed[lowest] if lowest in fixed else int(lowest.removeprefix("layer ")),
        )

    def lengths(self) -> list[int | None]:
        """The most optimizer steps of each stage, by the run's limits; None for the last, or where patience alone ends one."""
        return [s.length(self.per_epoch, self.total) for s in self.stages]

    # State

    def state_dict(self) -> dict[str, Any]:
        """Number of the stage, where stages began, what patience has seen, and the schedule that it is about."""
        names = ("stage", "begins", "best", "waited", "ended")
        return {
            **{k: getattr(self, k) for k in names},
            "schedule": [dataclasses.asdict(s) for s in self.stages],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on in the stage of a checkpoint; applied at once, before DDP sees the model.

        Raises:
            UserError: the checkpoint is of another schedule; shows both.
        """
        if not self.fitting:
            return
        state = dict(state)
        theirs = [Stage(**options) for options in state.pop("schedule")]
        if theirs != self.stages:
            both = [" ".join(map(str, stages)) for stages in (theirs, self.stages)]
            raise UserError(
                f"model.unfreeze: the checkpoint is of another schedule, {both[0]}; this run's is {both[1]};"
                " go on with the config of its run, or start anew without ckpt_path"
            )
        for name, value in state.items():
            setattr(self, name, value)
        self._apply()

    # Applying

    def _apply(self) -> None:
        """Sets what requires gradients and the modes of the current stage; can be repeated."""
        chosen = self.chosen[self.stage]
        for name, parameter in self.task.model.named_parameters():
            if parameter.requires_grad != (name in chosen):
                parameter.requires_grad_(name in chosen)
            parameter.grad = None
        self._modes()

    def _modes(self) -> None:
        """Frozen layers do not drop out; a batch norm with nothing to train keeps its statistics."""
        trained, chosen = self.trained[self.stage], self.chosen[self.stage]
        self.task.train()  # transformers loads models in eval mode, and Lightning leaves them so
        for name, module in self.task.model.named_modules():
            module.training = layer_of(name, self.found) in trained
            if isinstance(module, internals.NormBase) and not any(
                f"{name}.{p}" in chosen for p, _ in module.named_parameters()
            ):
                module.training = False

    def _advance(self, trainer: Any) -> None:
        """Goes to the stage that is due at this step."""
        before = self.stage
        while self._due(trainer.global_step):
            self.stage += 1
            self.begins.append(trainer.global_step)
            self._watch()
        if self.stage == before:
            return
        if self.stores[self.stage] is None or self.stores[self.stage] != self.stores[before]:
            self.cached.end()
        self._apply()
        if isinstance(
            trainer.strategy, DDPStrategy
        ):  # its reducer knows only what required gradients when it was made
            trainer.strategy.model = self.task
            trainer.strategy.configure_ddp()
        if compiled(self.task):
            torch.compiler.reset()
        for stopping in trainer.early_stopping_callbacks:
            stopping.wait_count = 0
        log.info(self.line())

    def _due(self, step: int) -> bool:
        if self.stage + 1 >= len(self.stages):
            return False
        length = self.stages[self.stage].length(self.per_epoch, self.total)
        return self.ended or (length is not None and step - self.begins[-1] >= length)

    def line(self) -> str:
        """What begins, in a line."""
        now = sum(self.numel[n] for n in self.chosen[self.stage])
        stage = self.stages[self.stage]
        return (
            f"stage {self.stage + 1} of {len(self.stages)} from step {self.begins[-1]:,}: {', '.join(stage.train)};"
            f" {fmt.count(now)} of {fmt.count(sum(self.numel.values()))} parameters train, lr {fmt.rate(stage.lr)}"
        )

    # Hooks

    def on_fit_start(self, trainer: Any, task: Any) -> None:
        """Sets the modes, and goes before other callbacks from now on, so that these see the rates of a step, not the last one's."""
        self._modes()
        trainer.callbacks = [self, *(c for c in trainer.callbacks if c is not self)]

    def on_train_start(self, trainer: Any, task: Any) -> None:
        """Counts the steps of the run, unless ftlight's own trainer does when it knows the number of epochs.

        Raises:
            UserError: the optimizer's groups are not those of the task.
        """
        if not all("layer" in group for group in trainer.optimizers[0].param_groups):
            raise UserError(
                "configure_optimizers: build on the groups of Task.configure_optimizers, whose rates the schedule sets"
            )
        if state_of(trainer) is None:
            self.count(trainer)

    def count(self, trainer: Any) -> None:
        """Counts steps, checks durations against them, and decides which stages read kept activations; can be repeated.

        Raises:
            UserError: nothing is left for the last stage, or nothing says how long the run is.
        """
        self.per_epoch, self.total = (
            optim.steps_per_epoch(trainer),
            max(0, optim.total_steps(trainer) - self.begins[0]),
        )
        self.task.total_steps = self.total
        last = self.stages[-1]
        if not self.total and last.lr_schedule != "constant":
            raise UserError(
                f"model.lr_schedule: {last.lr_schedule} needs trainer.max_epochs or max_steps; or set it to constant"
            )
        if not self.total and any(s.fraction for s in self.stages):
            raise UserError(
                "model.unfreeze: a fraction of the run needs trainer.max_epochs or max_steps; or give epochs or steps"
            )
        known = sum(
            s.length(self.per_epoch, self.total) or 0
            for s in self.stages[:-1]
            if s.patience is None
        )
        if (
            self.total
            and known >= self.total
            and not trainer.fast_dev_run
            and any(s.epochs or s.steps for s in self.stages)
        ):
            said = f"the first {len(self.stages) - 1} stages take {known} of the run's {self.total} optimizer steps"
            raise UserError(
                f"model.unfreeze: {said}; nothing is left for the last: give trainer.max_epochs more, or the stages less"
            )
        if (
            any(s.patience for s in self.stages)
            and not sum(trainer.num_val_batches)
            and not trainer.fast_dev_run
        ):
            raise UserError(
                "model.unfreeze: patience counts validations, and there are no validation data; give epochs instead"
            )
        spent = (
            epochs_of(self.lengths(), self.total, self.per_epoch)
            if self.total
            else [1e6] * len(self.stages)
        )
        wanted = self.cache is True or (
            self.cache == "auto"
            and optim.runs_all_batches(trainer, "train")
            and not trainer.fast_dev_run
        )
        cuts = [self.cut(i) for i in range(len(self.stages))]
        self.stores = (
            prefix_cache.plan(cuts, spent, self.cache is True) if wanted else [None] * len(cuts)
        )

    def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
        """Sets the modes again, in case somebody called train()."""
        self._modes()
        self._hold(trainer)

    def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, batch_idx: int) -> None:
        """Changes the stage where it is due, writes the rates of this step, and feeds kept activations."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._advance(trainer)
        stage, begin = self.stages[self.stage], self.begins[-1]
        length = stage.length(self.per_epoch, self.total)
        if self.stage + 1 == len(self.stages):
            length = self.total - begin + self.begins[0] if self.total else None
        step = trainer.global_step - begin
        for group in trainer.optimizers[0].param_groups:
            trains = group["layer"] in self.trained[self.stage]
            group["lr"] = (
                plans.lr_at(stage, group["depth"], step, length or self.per_epoch)
                if trains
                else 0.0
            )
        store = self.stores[self.stage]
        if store is not None:
            if not self.entered:
                self.cached.begin(trainer, task, store, f"stage {self.stage + 1}")
            self.entered = True
            self.cached.load(batch, "train", batch_idx == 0)

    def on_train_batch_end(
        self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Leaves nothing at the tap."""
        self.cached.done()

    def on_validation_batch_start(
        self, trainer: Any, task: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Feeds kept activations."""
        if self.fitting and not trainer.sanity_checking:
            self.cached.load(batch, "validation", batch_idx == 0)

    def on_validation_batch_end(
        self,
        trainer: Any,
        task: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Leaves nothing at the tap."""
        self.cached.done()

    def _hold(self, trainer: Any) -> None:
        """Early stopping does not count before the last stage."""
        if self.stage + 1 < len(self.stages):
            for stopping in trainer.early_stopping_callbacks:
                stopping.wait_count = -1  # the next validation makes it 0 at most

    def on_validation_start(self, trainer: Any, task: Any) -> None:
        """Keeps early stopping from counting."""
        if self.fitting:
            self._hold(trainer)

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        """Counts validations without a better value, where a stage has patience.

        Raises:
            UserError: the monitored value is not among the logged ones.
        """
        stage = self.stages[self.stage] if self.fitting and not trainer.sanity_checking else None
        if stage is None or stage.patience is None:
            return
        values = trainer.callback_metrics
        if stage.monitor not in values:
            there = f"{did_you_mean(str(stage.monitor), values)} (there are: {join_limited(values, 20)})"
            raise UserError(f"model.unfreeze.{self.stage}.monitor: no value {stage.monitor}{there}")
        value = float(values[stage.monitor])
        lower = (
            task.mode == "min"
            if stage.monitor == task.monitor
            else any(w in str(stage.monitor) for w in LOWER)
        )
        better = not math.isnan(value) and (
            self.best is None or (value < self.best if lower else value > self.best)
        )
        self.best, self.waited = (value, 0) if better else (self.best, self.waited + 1)
        self.ended = trainer.strategy.reduce_boolean_decision(
            self.waited >= stage.patience, all=False
        )

    def teardown(self, trainer: Any, task: Any, stage: str) -> None:
        """Leaves the model as it was."""
        self._leave()

    def on_exception(self, trainer: Any, task: Any, exception: BaseException) -> None:
        """Leaves the model as it was."""
        self._leave()

    def _leave(self) -> None:
        self.cached.end()
        if self.fitting:
            for name, parameter in self.task.model.named_parameters():
                parameter.requires_grad_(name in self.eligible)
        self.fitting = False


def of(trainer: Any) -> Freezing:
    """The schedule of a trainer that is fitting."""
    return next(c for c in trainer.callbacks if isinstance(c, Freezing))
