"""Applies a freezing schedule to a task while it trains."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.strategies import DeepSpeedStrategy, Strategy

from ftlight.freezing import head
from ftlight.freezing.plan import plan
from ftlight.freezing.stages import Stages
from ftlight.run.state import state_of
from ftlight.training import optim
from ftlight.training.lightning_internals import batches_that_stepped, log_every_n_steps
from ftlight.utils.errors import UserError, unknown

log = logging.getLogger(__name__)
LOWER_IS_BETTER = ("loss", "mse", "mae", "rmse", "error", "perplexity")  # in names of values


class Freezing(Stages):
    """Freezes and thaws layers stage by stage.

    Every parameter stays in its optimizer group throughout; a stage only says which ones require
    gradients. Frozen layers are in eval mode, get no gradients and learning rate 0, and run only
    once if storing their output pays. A checkpoint holds the number of the stage and the steps at
    which stages started.

    Args:
        option: value of ``unfreeze``, as returned by ``written.read_unfreeze``.
        lr: learning rate of the whole model, for stages that set none.
        lr_given: whether the user set that rate.
        defaults: ``layer_decay``, ``warmup``, ``lr_schedule`` and ``lr_over`` of stages that do not
            set them.
        cache: whether to store activations of frozen layers: true, false, or auto if it saves time.
        cache_gb: the most that stored activations may take on the disk.
        head_fit: whether a linear head that trains alone first is solved, or stepped.
        cache_draws: random draws of augmented rows that epochs with frozen layers take in turn; 0
            if each epoch has its own.
    """

    def setup(self, trainer: Any, task: Any, stage: str) -> None:
        """Applies the first stage, before the optimizer and DDP see the model.

        Raises:
            UserError: the strategy cannot change what trains, and the schedule has several stages.
        """
        self.fitting = stage == "fit"
        if not self.fitting:
            return
        self.task, self.entered = task, None
        self.lr = task.scaled_lr(trainer)
        self.check(task)
        self.progress.stage_starts = [trainer.global_step]
        self._check_strategy(trainer.strategy)
        self._count_draws(trainer)
        self._apply()

    def _check_strategy(self, strategy: Strategy) -> None:
        count = len(self.progress.stages)
        if count > 1 and keeps_trainable(strategy):
            raise UserError(
                f"model.unfreeze: {type(strategy).__name__} takes one stage only, not {count};"
                " use trainer.strategy: ddp, or a schedule of one stage"
            )

    def on_fit_start(self, trainer: Any, task: Any) -> None:
        """Sets the modes, and goes before other callbacks, so that these see the step's rates."""
        self._set_modes()
        trainer.callbacks = [self, *(c for c in trainer.callbacks if c is not self)]

    def on_train_start(self, trainer: Any, task: Any) -> None:
        """Counts the steps of the run; ftlight's trainer does so once it knows its epochs.

        Raises:
            UserError: the optimizer's groups are not those of the task, or the strategy cannot
                change what trains, and the schedule that a checkpoint brought has several stages.
        """
        self._check_strategy(trainer.strategy)
        if not all("layer" in group for group in trainer.optimizers[0].param_groups):
            raise UserError(
                "configure_optimizers: keep the parameter groups of Task.configure_optimizers;"
                " the schedule sets their learning rates"
            )
        if state_of(trainer) is None:
            self.count(trainer)

    def begin(self, trainer: Any) -> None:
        """Checks that heads can be solved, and solves one that comes before the first batch."""
        fresh = self._is_fresh(trainer)
        if fresh and self.progress.solves and (reason := head.find_fault(trainer, self.task)):
            self.step_head(reason)
            self.count(trainer)
        self._solve(trainer)
        if fresh and self.stepped:
            log.info("the head is stepped, not solved: %s", self.stepped)

    def _is_fresh(self, trainer: Any) -> bool:
        """Whether the schedule has just begun."""
        return trainer.global_step == self.progress.stage_starts[0] and not self.progress.solved

    def _solve(self, trainer: Any) -> None:
        """Solves the head if the stage asks for it; if nothing else trains the run then stops."""
        if self.progress.to_solve:
            cut = self.stores[self.stage] if self.stage == 0 else None
            stage = f"stage {self.stage + 1}"
            reason = head.fit(trainer, self.task, self.prefix_cache, cut, stage)
            if reason and self.stage == 0:
                self.step_head(reason)
                self.count(trainer)
                return
            if reason:
                log.info("%s: the head stays as it is: %s", stage, reason)
            self.progress.solved.append(self.stage)  # after the validation: a kill solves again
        if self.progress.current.solved and self.progress.is_last:
            trainer.should_stop = True

    def count(self, trainer: Any) -> None:
        """Counts steps and decides which stages read stored activations. Can be repeated.

        Raises:
            UserError: the stages do not fit into the run, or its length is not known.
        """
        if self.progress.solves and self._is_fresh(trainer):
            later = any(stage.solved for stage in self.progress.stages[1:])
            if reason := head.obstacle(trainer, self.task, later, self.draws):
                self.step_head(reason)
        progress, quick = self.progress, bool(trainer.fast_dev_run)
        progress.per_epoch = optim.steps_per_epoch(trainer)
        # as first planned: what is stored stays, whatever becomes of the plan
        total = optim.total_steps(trainer, as_planned=True)
        progress.total = max(0, total - progress.stage_starts[0])
        progress.check_durations(fits=not quick)
        has_patience = any(stage.patience for stage in progress.stages)
        if has_patience and not sum(trainer.num_val_batches) and not quick:
            raise UserError(
                "model.unfreeze: patience counts validations, and there is no validation data;"
                " give epochs instead"
            )
        self.stores = self.stores_of(trainer, progress.total)
        self.recount(trainer)

    def recount(self, trainer: Any) -> None:
        """Counts the steps of the run again, once there are fewer than planned."""
        total = optim.total_steps(trainer) - self.progress.stage_starts[0]
        self.progress.total = self.task.total_steps = max(0, total)

    def stores_of(self, trainer: Any, total: int) -> list[int | None]:
        """The cut of the store that each stage reads in a run with so many steps."""
        stages = range(len(self.progress.stages))
        return self.plan_stores(trainer, stages, self.progress.epochs(total))

    def plan_stores(
        self, trainer: Any, stages: Sequence[int], epochs: Sequence[float]
    ) -> list[int | None]:
        """The cut of the store that each of some stages reads; None if it runs all layers.

        Args:
            trainer: the trainer.
            stages: numbers of stages that follow each other.
            epochs: epochs of each.
        """
        worthwhile = optim.runs_all_batches(trainer, "train") and not trainer.fast_dev_run
        varies = bool(getattr(self.data, "varies", False))
        worthwhile = worthwhile and not (varies and not self.draws)  # nothing comes again
        if self.cache is True or (self.cache == "auto" and worthwhile):
            always, draws = self.cache is True, max(1, self.draws)
            stores = plan([self.cut(i) for i in stages], epochs, always, draws)
            for i, stage in enumerate(stages):
                if self.progress.stages[stage].solved:
                    # the first store is for the next run, and who else reads vectors; those of
                    # rows that vary are made of the rows as they are, which no step sees
                    first = None if varies and not always else self.cut(stage)
                    stores[i] = stores[i - 1] if i else first
            return stores
        return [None] * len(stages)

    def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
        """Sets the modes again, in case somebody called train()."""
        self._set_modes()
        self._pause_early_stopping(trainer)

    def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, batch_idx: int) -> None:
        """Changes the stage if due, sets the rates of this step, and feeds stored activations."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._advance(trainer)
            if self.progress.to_solve:
                self._solve(trainer)
                self._advance(trainer)
            if self.progress.current.solved:
                raise StopIteration  # the loop takes it for the end of the epoch
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.lr_of(group, trainer.global_step)
        store = self.stores[self.stage]
        if store is not None:
            if self.entered != self.stage:
                name = f"stage {self.stage + 1}"
                self.prefix_cache.begin(trainer, task, store, name, self.draws)
                self.entered = self.stage
            self.prefix_cache.load(batch, "train", batch_idx == 0)

    def lr_of(self, group: Mapping[str, Any], step: int) -> float:
        """The learning rate of an optimizer group at a step; 0 if it is frozen."""
        trained = [group["layer"] in layers for layers in self.trainable_layers]
        return self.progress.lr(group["depth"], step, trained)

    def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
        """Settles the draws of the next epoch, before a checkpoint of this place is made."""
        self._set_draws(self._due_stage(trainer))

    def on_train_batch_end(
        self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Clears the tap, and logs stage and rates of the step as often as its loss."""
        self.prefix_cache.done()
        every = log_every_n_steps(trainer)
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
        if stepped and every and trainer.global_step % every == 0:
            groups = trainer.optimizers[0].param_groups
            rates = {f"lr/{group['layer']}": group["lr"] for group in groups}
            for logger in trainer.loggers:  # not by log(): these are no scores to choose by
                values = {"train/stage": self.stage + 1.0, **rates, "epoch": trainer.current_epoch}
                logger.log_metrics(values, batches_that_stepped(trainer))

    def on_validation_batch_start(
        self, trainer: Any, task: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Feeds stored activations."""
        if self.fitting and not trainer.sanity_checking:
            self.prefix_cache.load(batch, "validation", batch_idx == 0)

    def on_validation_batch_end(self, trainer: Any, task: Any, *batch: Any) -> None:
        """Clears the tap."""
        self.prefix_cache.done()

    @property
    def is_final(self) -> bool:
        """Whether nothing else will train: early stopping counts from then on."""
        return self.progress.is_last

    def _pause_early_stopping(self, trainer: Any) -> None:
        """Keeps early stopping from counting before what trains is final."""
        if not self.is_final:
            for stopping in trainer.early_stopping_callbacks:
                stopping.wait_count = -1  # the next validation makes it 0 at most

    def on_validation_start(self, trainer: Any, task: Any) -> None:
        """Keeps early stopping from counting before the last stage."""
        if self.fitting:
            self._pause_early_stopping(trainer)

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        """Counts validations without improvement, if the stage has patience.

        Raises:
            UserError: the monitored value is not logged.
        """
        if not self.fitting or trainer.sanity_checking or self.progress.current.patience is None:
            return
        monitor, values = str(self.progress.current.monitor), trainer.callback_metrics
        if monitor not in values:
            where = f"model.unfreeze.{self.stage}.monitor: no value"
            raise UserError(unknown(where, monitor, values, "logged"))
        if monitor == task.monitor:
            lower = task.mode == "min"
        else:
            lower = any(word in monitor for word in LOWER_IS_BETTER)
        over = self.progress.validated(float(values[monitor]), lower)
        self.progress.ended = trainer.strategy.reduce_boolean_decision(over, all=False)

    def teardown(self, trainer: Any, task: Any, stage: str) -> None:
        """Leaves the model as it was."""
        self._leave()

    def on_exception(self, trainer: Any, task: Any, exception: BaseException) -> None:
        """Leaves the model as it was."""
        self._leave()

    def _leave(self) -> None:
        self.prefix_cache.end()
        if self.fitting:
            for name, parameter in self.task.model.named_parameters():
                parameter.requires_grad_(name in self.eligible)
        self.fitting = False


def keeps_trainable(strategy: Strategy) -> bool:
    """Whether what trains must stay the same during a run under a strategy."""
    return strategy.restore_checkpoint_after_setup or isinstance(strategy, DeepSpeedStrategy)


def of(trainer: Any) -> Freezing:
    """The schedule of a trainer that is fitting."""
    return next(c for c in trainer.callbacks if isinstance(c, Freezing))
