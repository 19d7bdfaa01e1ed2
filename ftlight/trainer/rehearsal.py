"""Measures what a run will cost, before its first step and without a trace in it.

Nothing of it may remain: a run with a time limit is then the run of as many steps, to the bit.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import nn

from ftlight.data.module import DataModule
from ftlight.freezing import identity
from ftlight.freezing.stages import Stages
from ftlight.freezing.store import preserve_rng
from ftlight.models.modes import evaluating
from ftlight.task import Task
from ftlight.trainer.parts import data_of
from ftlight.training import memory
from ftlight.training.fsdp import FSDP2
from ftlight.utils.distributed import first_decides

MOST = 20  # optimizer steps
SHARE = 0.05  # of the limit, for these


class Measured(NamedTuple):
    """Seconds of the parts of a run.

    Attributes:
        step: an optimizer step.
        validation: a pass over the validation rows.
        test: a pass over the test rows.
        epoch: a pass forward over training and validation rows.
    """

    step: float
    validation: float
    test: float
    epoch: float


def obstacle(trainer: Any) -> str:
    """Why a run cannot be rehearsed, or nothing."""
    if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy, FSDP2)):
        return f"steps cannot be tried out under {type(trainer.strategy).__name__}"
    if data_of(trainer) is None:
        return "the data module is not ftlight's, and may not give its first batches twice"
    return ""


def rehearse(trainer: Any, task: Task, schedule: Stages, stage: int, limit: float) -> Measured:
    """Tries out steps of a stage and batches of evaluations; all processes must call this.

    Args:
        trainer: the trainer, before its first step.
        task: the task.
        schedule: its schedule.
        stage: number of the stage.
        limit: seconds that the run may take.

    Raises:
        UserError: the device has not enough memory for a step of the stage.
    """
    with preserve_rng(), kept(task.model), schedule.trying(stage), _explained(trainer, stage):
        step = _step(trainer, task, SHARE * limit)
    with preserve_rng():
        validation, test, epoch = _evaluations(trainer, task)
    return Measured(step, validation, test, epoch)


def _explained(trainer: Any, stage: int) -> contextlib.AbstractContextManager[None]:
    """Turns an out-of-memory error into one line that names the stage."""
    options = [option for option in memory.SMALLER if hasattr(trainer.datamodule, option)]
    ways = memory.words("", options, trains=True)
    return memory.explained(lambda: f"stage {stage + 1} of the schedule: {ways}")


@contextlib.contextmanager
def kept(model: nn.Module) -> Iterator[None]:
    """Keeps buffers, such as the statistics of batch norms, as they are."""
    before = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])
        model.zero_grad(set_to_none=True)


def _step(trainer: Any, task: Task, most: float) -> float:
    """Seconds of an optimizer step; the first of several batches is not counted."""
    # a loader of its own: one with workers has one iterator, which may have begun
    batches, count = iter(trainer.datamodule.train_dataloader()), MOST
    times: list[float] = []
    while len(times) < count:
        begun = time.monotonic()
        batch = next(batches, None)
        if batch is None:
            break
        backward(trainer, task, trainer.strategy.batch_to_device(batch))
        times.append(since(trainer, begun))
        if len(times) == 2:  # all processes try the same number: they wait for each other
            count = first_decides(trainer, lambda: min(MOST, round(most / max(times[1], 1e-9))))
    if isinstance(trainer.strategy, DDPStrategy):
        begun = time.monotonic()
        _exchange(task)
        times = [seconds + since(trainer, begun) for seconds in times]
    counted = times[1:] or times
    mean = sum(counted) / max(1, len(counted))
    return mean * trainer.accumulate_grad_batches + optimizer_seconds(trainer)


def since(trainer: Any, begun: float) -> float:
    """Seconds since then, with all that a GPU still had to do."""
    if trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic() - begun


def backward(trainer: Any, task: Task, batch: Any) -> None:
    """Works out the gradients of a batch, as a training step does."""
    with trainer.precision_plugin.forward_context():
        loss = task.step(trainer.precision_plugin.convert_input(batch)).loss
    assert loss is not None
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]


def _exchange(task: Task) -> None:
    """Adds the gradients of all processes, in one piece."""
    gradients = [p.grad.flatten() for p in task.model.parameters() if p.grad is not None]
    if gradients:
        dist.all_reduce(torch.cat(gradients))


def optimizer_seconds(trainer: Any) -> float:
    """Seconds of an optimizer step alone; 0 if it has a state, which it would change."""
    optimizer = trainer.optimizers[0]
    if optimizer.state or isinstance(trainer.strategy, FSDP2):
        return 0.0
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad.zero_()  # so that no weight moves
    seconds = 0.0
    for _ in range(2):  # the first makes the state
        begun = time.monotonic()
        optimizer.step()
        seconds = since(trainer, begun)
    optimizer.state.clear()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    return seconds


def _evaluations(trainer: Any, task: Task) -> tuple[float, float, float]:
    """Seconds of a validation, of a test, and of an epoch forward; 0 for a split there is not.

    They are those of :meth:`Task.step`: what else a task does in a validation, such as generating
    texts, is known after the first one only.
    """
    data = trainer.datamodule
    row = _row(trainer, task, data)
    sizes = {split: row * len(table) / trainer.world_size for split, table in data.sets.items()}
    validation = sizes.get("validation", 0.0) if sum(trainer.num_val_batches) else 0.0
    return validation, sizes.get("test", 0.0), sizes["train"] + sizes.get("validation", 0.0)


def _row(trainer: Any, task: Task, data: DataModule) -> float:
    """Seconds that a row takes to be evaluated, by batches of short, middling and long rows."""
    table = data.sets.get("validation", data.sets["train"])
    order = np.argsort(np.asarray(table["length"]), kind="stable")
    chosen = []
    for place in (3, 1, 3, 5):  # sixths; the first is not counted
        first = max(0, place * len(order) // 6 - data.batch_size // 2)
        chosen.append(order[first : first + data.batch_size])
    times, begun = [], time.monotonic()
    for batch in identity.load(trainer, table, chosen):
        with evaluating(task), torch.no_grad(), trainer.precision_plugin.forward_context():
            task.step(batch)
        times.append(since(trainer, begun))
        begun = time.monotonic()
    return sum(times[1:]) / sum(len(rows) for rows in chosen[1:])
