"""What processes of one training tell each other; a training of one process answers itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist

from ftlight.utils.errors import UserError

T = TypeVar("T")


def gather_objects(value: T, processes: int) -> list[T]:
    """The value of every process, by rank.

    Args:
        value: that of this process; it must pickle.
        processes: how many there are.
    """
    everyone: list[Any] = [value]
    if processes > 1:
        everyone = [None] * processes
        dist.all_gather_object(everyone, value)
    return everyone


def reduce(
    values: list[float], how: Literal["min", "max"], device: torch.device, processes: int
) -> list[float]:
    """The smallest or largest of each value over all processes, as fp32.

    Args:
        values: those of this process; equally many on each.
        how: min or max.
        device: device that the processes' backend works on.
        processes: how many there are.
    """
    if processes == 1:
        return values
    gathered = torch.tensor(values, dtype=torch.float, device=device)
    dist.all_reduce(gathered, dist.ReduceOp.MIN if how == "min" else dist.ReduceOp.MAX)
    return gathered.tolist()


def first_decides(trainer: Any, make: Callable[[], T]) -> T:
    """Runs ``make`` on the first process alone; all get its result, or its error.

    Args:
        trainer: Lightning's trainer.
        make: what to run; its result must pickle.

    Raises:
        UserError: ``make`` raised it.
    """
    result: tuple[Any, str] = (None, "")
    if trainer.is_global_zero:
        try:
            result = (make(), "")
        except UserError as error:
            result = (None, str(error))
    value, fault = trainer.strategy.broadcast(result)
    if fault:
        raise UserError(fault)
    return value
