"""The mean of the weights over the last steps of a run, kept if validation says it is better.

Sources: Izmailov et al. 2018, arXiv:1803.05407 (SWA); Kaddour 2022, arXiv:2209.14981 (LAWA).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from ftlight.freezing import callback as freezing
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer.best import Best
from ftlight.training import checkpoint as files
from ftlight.training.lightning_internals import callbacks_of
from ftlight.utils.errors import UserError
from ftlight.utils.format import number

log = logging.getLogger(__name__)


class Averaging(L.Callback):
    """Averages the weights after each of the last steps; the run itself goes on as without.

    Args:
        share: share of the run's steps, as planned, that count.

    Attributes:
        count: steps in the mean so far.
        step: the optimizer step last seen.
        means: the mean of each weight and buffer that can change, by its name in the model.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.count = self.step = 0
        self.means: dict[str, Tensor] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Checks that the last steps can be told.

        Raises:
            UserError: nothing limits the run.
        """
        if not freezing.of(trainer).progress.total:
            raise UserError("trainer.average_last needs trainer.max_epochs or max_steps")

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *batch: Any) -> None:
        """Counts the weights after a step; those of steps that are taken back do not count."""
        step, before, schedule = trainer.global_step, self.step, freezing.of(trainer)
        self.step = step
        progress = schedule.progress
        first = progress.stage_starts[0] + round((1 - self.share) * progress.total)
        is_longer = before - self.count < first  # a run that had ended goes on
        if is_longer or step < before:  # or steps were taken back
            self.count, self.means = 0, {}
        if step <= first or step == before:
            return
        self.count += 1
        for name, weight in _changing(pl_module, set().union(*schedule.trainable_params)).items():
            if name not in self.means:
                kind = torch.promote_types(weight.dtype, torch.float32)
                self.means[name] = weight.detach().to(kind, copy=True)
            else:
                self.means[name].lerp_(weight.to(self.means[name].dtype), 1 / self.count)

    def state_dict(self) -> dict[str, Any]:
        """The mean so far."""
        return {"count": self.count, "step": self.step, "means": self.means}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a mean."""
        self.count, self.step = int(state_dict["count"]), int(state_dict["step"])
        self.means = dict(state_dict["means"])

    @contextlib.contextmanager
    def in_place(self, task: Task) -> Iterator[None]:
        """Has a task hold the mean, and then its own weights again."""
        weights = _changing(task, set(self.means))
        own = {name: weights[name].detach().clone() for name in self.means}
        try:
            _put(weights, self.means)
            yield
        finally:
            _put(weights, own)


def _changing(task: Any, names: set[str]) -> dict[str, Tensor]:
    """The weights of these names, and the buffers that are no whole numbers."""
    buffers = {n: b for n, b in task.model.named_buffers() if b.is_floating_point()}
    return {n: p for n, p in task.model.named_parameters() if n in names} | buffers


@torch.no_grad()
def _put(weights: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        weights[name].copy_(value)


def check(trainer: L.Trainer, validates: bool) -> None:
    """Refuses what has no mean of the weights, or no way to choose it.

    Raises:
        UserError: there are no validation rows or checkpoints, another average, or a strategy that
            divides the weights.
    """
    name = "trainer.average_last"
    if not validates:
        raise UserError(
            f"{name}: validation says whether the mean is better, and there is none;"
            " give data.validation, and leave trainer.enable_checkpointing"
        )
    if callbacks_of(trainer, WeightAveraging):
        raise UserError(f"{name}: a callback averages the weights already; leave one of them out")
    if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
        kind = type(trainer.strategy).__name__
        raise UserError(f"{name}: {kind} divides the weights; use trainer.strategy: ddp")


def settle(trainer: L.Trainer, run: RunState, task: Task, data: Any) -> None:
    """Validates the mean at the end of a run, and keeps it if it is better than the best weights.

    All processes must call this.

    Args:
        trainer: the trainer.
        run: state of its run.
        task: the task; it holds its own weights after.
        data: its data module, or None if loaders feed it.
    """
    averaging = next(iter(callbacks_of(trainer, Averaging)), None)
    best = next(iter(callbacks_of(trainer, Best)), None)
    if averaging is None or best is None:
        return
    if averaging.count < 2:
        log.info("trainer.average_last: the run ended before the steps that it averages")
        return
    if (best.averaged, best.step) == (averaging.count, trainer.global_step):
        return  # a run that had ended was begun again
    held, trainer.loggers = trainer.loggers, []  # val/… of this step are those of the run itself
    loaders = None if data is not None else trainer.val_dataloaders
    try:
        with averaging.in_place(task):
            trainer.validate(task, loaders, datamodule=data, verbose=False)
            kept = best.consider(trainer, task, averaged=averaging.count)
    finally:
        trainer.loggers = held
    if kept and trainer.is_global_zero:
        _note(run, best)
    value = number(float(trainer.callback_metrics[best.monitor]))
    log.info(
        "the mean of the last %s steps: %s %s: %s",
        f"{averaging.count:,}",
        best.monitor,
        value,
        "kept" if kept else "not better than the best weights",
    )


def _note(run: RunState, best: Best) -> None:
    """Tells last.ckpt, which was written before, what best.ckpt holds now."""
    path = run.checkpoints / files.LAST
    if run.unwritten or not path.is_file():
        return
    checkpoint = files.load(path)
    checkpoint["callbacks"][best.state_key] = best.state_dict()
    run.note(path, files.write_packed(files.pack(checkpoint), path))
