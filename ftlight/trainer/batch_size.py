"""The callback that chooses the rows of a batch (``data.batch_size: auto``), without a trace."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from ftlight.data.module import DataModule
from ftlight.freezing import callback, cost, identity
from ftlight.freezing.callback import Freezing
from ftlight.freezing.store import preserve_rng
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer import chosen, rehearsal
from ftlight.trainer.parts import data_of
from ftlight.training import batches, memory
from ftlight.training.fsdp import FSDP2
from ftlight.training.lightning_internals import is_dry_run
from ftlight.utils.distributed import first_decides, reduce
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)
OPTION, WAY = "data.batch_size: auto", "give the rows of a batch"
TIMED = 128  # rows that each size is timed on, at least


def settle(run: RunState, task: Task, data: Any, ckpt_path: str | None) -> None:
    """Takes the size that a run which goes on has chosen, or checks that one can be.

    Args:
        run: state of the run.
        task: the task.
        data: its data module, or what else feeds it.
        ckpt_path: checkpoint of another run to begin from.

    Raises:
        UserError: sizes cannot be tried out here.
    """
    if not isinstance(data, DataModule) or not data.batch_size_auto:
        return
    if size := chosen.recorded(run, "data", "batch_size"):
        _take(run, task, data, int(size))
        return
    if ckpt_path is not None:
        raise UserError(f"{OPTION}: a checkpoint comes with its batches; {WAY}")
    if data.tokens_per_batch is not None:
        raise UserError(f"{OPTION}: data.tokens_per_batch makes the batches; leave one of them out")


def _take(run: RunState, task: Task, data: DataModule, size: int) -> None:
    """Gives a run the rows of its batches in place of ``auto``; its default rate follows them."""
    data.batch_size, data.batch_size_auto, task.lr_scaling = size, False, "sqrt"
    chosen.note(run, data, "data", "batch_size", size)
    chosen.note(run, task, "model", "lr_scaling", "sqrt")
    if "data" in run.rows:
        run.rows["data"]["batch_size"] = [size, size]


class BatchSize(Callback):
    """Times batches of rising size before the first step, and puts everything back.

    The run is then, to the bit, that with the chosen size and lr_scaling: sqrt given by hand.

    Args:
        run: state of the run.
    """

    def __init__(self, run: RunState) -> None:
        self.run = run

    def on_fit_start(self, trainer: Any, task: Any) -> None:
        """Chooses the size.

        Raises:
            UserError: sizes cannot be tried out here.
        """
        data = data_of(trainer)
        if data is None or not data.batch_size_auto or is_dry_run(trainer):
            return
        reason = rehearsal.obstacle(trainer)
        if isinstance(trainer.strategy, FSDP2):
            reason = "sizes are not tried out on divided weights"
        if reason:
            raise UserError(f"{OPTION}: {reason}; {WAY}")
        schedule, begun = callback.of(trainer), time.monotonic()
        stage = cost.dearest(schedule)
        if stage is None:  # the head is solved, and no step taken
            speeds = {data.batch_size: 0.0}
        else:
            speeds = _speeds(trainer, task, data, schedule, stage)
        _take(self.run, task, data, first_decides(trainer, lambda: batches.best(speeds)))
        schedule.give_lr(task.scaled_lr(trainer))
        chosen.write(self.run)
        log.info(
            "%s: %d, the smallest within a tenth of the most rows a second (%s) (%.0f s)",
            *(OPTION, data.batch_size),
            ", ".join(f"{size}: {speed:.0f}" for size, speed in speeds.items()),
            time.monotonic() - begun,
        )


def _speeds(
    trainer: Any, task: Task, data: DataModule, schedule: Freezing, stage: int
) -> dict[int, float]:
    """Rows a second of each size that fits in memory, on the slowest stage.

    Raises:
        UserError: not even the smallest fits.
    """
    before, speeds = data.batch_size, dict[int, float]()
    order = np.argsort(np.asarray(data.sets["train"]["length"]), kind="stable")
    try:
        with preserve_rng(), rehearsal.kept(task.model), schedule.trying(stage):
            for size in batches.sizes(len(order), trainer.world_size):
                data.batch_size = size
                if not (speed := _speed(trainer, task, schedule, order, size)):
                    break
                speeds[size] = speed
                if batches.is_past(list(speeds.values())):
                    break
    finally:
        data.batch_size = before
    fits = [float(max(speeds, default=0))]
    (most,) = reduce(fits, "min", trainer.strategy.root_device, trainer.world_size)
    if not most:
        raise UserError(f"{OPTION}: {memory.words('', memory.SMALLER[2:], trains=True)}")
    return {size: speed for size, speed in speeds.items() if size <= most}


def _speed(trainer: Any, task: Task, schedule: Freezing, order: np.ndarray, size: int) -> float:
    """Rows a second of a size; 0 if its longest rows leave no room in memory.

    Args:
        trainer: the trainer.
        task: the task.
        schedule: its schedule, in the stage that is tried.
        order: numbers of the rows of train, the shortest first.
        size: rows of a batch.
    """
    device, table = trainer.strategy.root_device, trainer.datamodule.sets["train"]
    spread = np.linspace(0, len(order) - 1, max(size, min(TIMED, len(order)))).astype(int)
    timed = np.split(order[spread], range(size, len(spread), size))
    try:
        for batch in identity.load(trainer, table, [order[-size:]]):
            rehearsal.backward(trainer, task, batch)
        step = rehearsal.optimizer_seconds(trainer) / trainer.accumulate_grad_batches
        begun = time.monotonic()
        for batch in identity.load(trainer, table, timed):
            rehearsal.backward(trainer, task, batch)
        seconds = rehearsal.since(trainer, begun) + step * len(timed)
    except (RuntimeError, MemoryError) as error:
        if not memory.is_lack(error):
            raise
        return 0.0
    finally:
        task.model.zero_grad(set_to_none=True)
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        weights = sum(schedule.numel[name] for name in schedule.trainable_params[schedule.stage])
        if not batches.has_room(torch.cuda.max_memory_allocated(device), weights, total):
            return 0.0
    return len(spread) / seconds
