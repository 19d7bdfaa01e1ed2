"""Exchange between the processes of a training; a single process needs no backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist

from ftlight.utils.errors import UserError

T = TypeVar("T")


def gather_objects(value: T, processes: int) -> list[T]:
    """Gathers a value from every process, in the order of ranks.

    Args:
        value: the value of this process; it must pickle.
        processes: number of processes.
    """
    everyone: list[Any] = [value]
    if processes > 1:
        everyone = [None] * processes
        dist.all_gather_object(everyone, value)
    return everyone


def first_reason(reason: str, processes: int) -> str:
    """The reason of the first process that has one, so that all do the same; empty if none has.

    Args:
        reason: that of this process, or nothing.
        processes: number of processes.
    """
    return next(filter(None, gather_objects(reason, processes)), "")


def reduce(
    values: list[float], how: Literal["min", "max"], device: torch.device, processes: int
) -> list[float]:
    """Takes the minimum or maximum of each value over all processes, as fp32.

    Args:
        values: values of this process; their number is the same on each.
        how: min or max.
        device: a device that the backend supports.
        processes: number of processes.
    """
    if processes == 1:
        return values
    gathered = torch.tensor(values, dtype=torch.float, device=device)
    dist.all_reduce(gathered, dist.ReduceOp.MIN if how == "min" else dist.ReduceOp.MAX)
    return gathered.tolist()


def first_decides(trainer: Any, make: Callable[[], T]) -> T:
    """Runs ``make`` on the first process only; all get its result or its error.

    Args:
        trainer: Lightning's trainer.
        make: function to run; its result must pickle.

    Raises:
        UserError: ``make`` raised it.
    """
    result: tuple[Any, type[UserError], str] = (None, UserError, "")
    if trainer.is_global_zero:
        try:
            result = (make(), UserError, "")
        except UserError as error:
            result = (None, type(error), str(error))
    value, kind, fault = trainer.strategy.broadcast(result)
    if fault:
        raise kind(fault)
    return value
