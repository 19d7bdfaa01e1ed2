"""The callback that chooses the learning rate (``model.lr: auto``), without a trace in the run."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from ftlight.freezing import callback, copies, cost
from ftlight.freezing.callback import Freezing
from ftlight.freezing.store import preserve_rng
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer import chosen, rehearsal
from ftlight.training import rates
from ftlight.training.lightning_internals import is_dry_run
from ftlight.utils.errors import UserError
from ftlight.utils.format import rate as shown

log = logging.getLogger(__name__)
MOST, LEAST = 60.0, 20  # seconds of the test, and rates to try however long they take
OPTION, WAY = "model.lr: auto", "give a rate, or leave it out"


def settle(run: RunState, task: Task, trainer: Any, ckpt_path: str | None) -> None:
    """Takes the rate that a run which goes on has chosen at its start, or checks that it can.

    Args:
        run: state of the run.
        task: the task.
        trainer: its trainer.
        ckpt_path: checkpoint of another run to begin from.

    Raises:
        UserError: rates cannot be tried out here, or no stage takes the one of the model.
    """
    if not task.lr_auto:
        return
    if (lr := chosen.recorded(run, "model", "lr")) is not None:
        keep(run, task, float(lr))
        return
    if trainer.world_size > 1:
        raise UserError(f"{OPTION}: rates are tried out in one process; {WAY}")
    if ckpt_path is not None:
        raise UserError(f"{OPTION}: a checkpoint comes with a rate; {WAY}")
    schedule = task.freezing()
    schedule.check(task)
    _stage(schedule)


def keep(run: RunState, task: Task, lr: float) -> None:
    """Gives a task, and the config that its run records, a rate in place of ``auto``."""
    task.lr, task.lr_auto = lr, False
    chosen.note(run, task, "model", "lr", lr)


class RangeTest(Callback):
    """Tries out rising rates before the first step, and puts everything back.

    The run is then, to the bit, that with the chosen rate given by hand.

    Args:
        run: state of the run.
    """

    def __init__(self, run: RunState) -> None:
        self.run = run

    def on_train_start(self, trainer: Any, task: Any) -> None:
        """Chooses the rate.

        Raises:
            UserError: steps cannot be tried out here.
        """
        if not task.lr_auto or is_dry_run(trainer):
            return
        schedule = callback.of(trainer)
        if reason := rehearsal.obstacle(trainer):
            raise UserError(f"{OPTION}: {reason}; {WAY}")
        schedule.count(trainer)  # which heads are solved
        stage = _stage(schedule)
        begun = time.monotonic()
        tried, losses = _losses(trainer, task, schedule, stage)
        if not math.isfinite(losses[0]):
            raise UserError(f"{OPTION}: the loss of the first batch is {losses[0]}; {WAY}")
        lr = rates.rounded(rates.valley(tried, losses))
        keep(self.run, task, lr)
        chosen.write(self.run)
        schedule.give_lr(lr)
        log.info(
            "model.lr: auto: %s, in the middle of the longest fall of the loss at %d rates from %s"
            " to %s (%.0f s)",
            *(shown(lr), len(losses), shown(tried[0]), shown(tried[len(losses) - 1])),
            time.monotonic() - begun,
        )


def _stage(schedule: Freezing) -> int:
    """The dearest of the stages that take the rate of the model.

    Raises:
        UserError: none does.
    """
    taking = [
        number
        for number, stage in enumerate(schedule.progress.stages)
        if not stage.solved and stage.lr == schedule.lr
    ]
    if not taking:
        raise UserError(f"{OPTION}: each stage has a rate of its own; leave model.lr out")
    return max(taking, key=lambda stage: cost.of_stage(schedule, stage))


def _losses(
    trainer: Any, task: Task, schedule: Freezing, stage: int
) -> tuple[list[float], list[float]]:
    """Rates, and the loss of a training batch before the step at each, until they diverge."""
    optimizer = trainer.optimizers[0]
    names = schedule.trainable_params[stage]
    before = copies.take(task.model, names, optimizer)
    kept = [group["lr"] for group in optimizer.param_groups]
    try:
        with preserve_rng(), schedule.trying(stage):
            return _sweep(trainer, task, schedule, stage)
    finally:
        copies.put_back(before, task.model, optimizer)
        task.model.zero_grad(set_to_none=True)
        for group, lr in zip(optimizer.param_groups, kept, strict=True):
            group["lr"] = lr


def _sweep(
    trainer: Any, task: Task, schedule: Freezing, stage: int
) -> tuple[list[float], list[float]]:
    """Steps at rising rates, each on the next training batch."""
    tried, losses, optimizer = rates.tried(schedule.lr), list[float](), trainer.optimizers[0]
    loader, begun = trainer.datamodule.train_dataloader(), time.monotonic()
    batches = iter(loader)
    while len(losses) < len(tried):
        batch = next(batches, None)
        if batch is None:
            batches = iter(loader)
            continue
        optimizer.zero_grad(set_to_none=True)
        batch = trainer.strategy.batch_to_device(batch)
        losses.append(_loss(trainer, task, batch))
        if rates.has_diverged(losses):
            break
        for group in optimizer.param_groups:
            group["lr"] = _share(schedule, stage, group) * tried[len(losses) - 1]
        optimizer.step()
        if len(losses) == 2:  # the first is slower
            fits = round(MOST / max((time.monotonic() - begun) / 2, 1e-9))
            tried = rates.tried(schedule.lr, min(rates.TRIED, max(LEAST, fits)))
    return tried, losses


def _share(schedule: Freezing, stage: int, group: Mapping[str, Any]) -> float:
    """Rate of an optimizer group in a stage, as a share of that of the top layer."""
    if group["layer"] not in schedule.trainable_layers[stage]:
        return 0.0
    return float(schedule.progress.stages[stage].layer_decay ** group["depth"])


def _loss(trainer: Any, task: Task, batch: Any) -> float:
    """The loss of a batch, whose gradients are then there, clipped as in training."""
    with trainer.precision_plugin.forward_context():
        loss = task.step(trainer.precision_plugin.convert_input(batch)).loss
    assert loss is not None
    loss.backward()  # type: ignore[no-untyped-call]
    if most := trainer.gradient_clip_val:
        torch.nn.utils.clip_grad_norm_(task.model.parameters(), most)
    return float(loss.detach())
