"""What ftlight's trainer makes of its options before Lightning sees them."""

from __future__ import annotations

import logging
from typing import Any

from lightning.pytorch.strategies import Strategy

from ftlight.freezing.callback import keeps_trainable
from ftlight.task import Task
from ftlight.training import checkpoint
from ftlight.training import precision as precisions

log = logging.getLogger(__name__)


def as_list(value: Any) -> list[Any]:
    """Nothing, one or several as a list."""
    if isinstance(value, list):
        return value
    return [value] if value else []


def only_false(use_distributed_sampler: bool | None) -> bool:
    """Always false, and says so if something else was asked for."""
    if use_distributed_sampler:
        log.warning("trainer.use_distributed_sampler: true is ignored; take it out")
    return False


def plugins_for(strategy: str | Strategy, precision: str) -> list[Any]:
    """The plugins that ftlight adds for a strategy and a precision."""
    plugins: list[Any] = []
    if precision == precisions.NAME:
        plugins.append(precisions.BF16Master())
    name = strategy if isinstance(strategy, str) else ""
    if name == "fsdp2" or not name.startswith(("fsdp", "deepspeed", "model_parallel")):
        plugins.append(checkpoint.CheckpointIO())  # others write their own shards
    return plugins


def settle_unfreeze(strategy: Strategy, is_limited: bool, task: Task) -> None:
    """Makes the default of ``unfreeze`` all layers where shares of a run cannot be; says so.

    Args:
        strategy: that of the trainer.
        is_limited: whether epochs, steps or a time end the run.
        task: the task.
    """
    if task.options_given.get("unfreeze") is not None or task.schedule == "all":
        return
    reason = f"{type(strategy).__name__} takes one stage only" if keeps_trainable(strategy) else ""
    if not is_limited:
        reason = "a share of a run without an end is not known"
    if reason:
        log.info("model.unfreeze: all, not %s: %s", task.schedule, reason)
        task.schedule = "all"
