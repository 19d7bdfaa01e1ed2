"""Gradient clipping by the norm of all gradients, for any strategy and optimizer."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from torch import Tensor, nn

from ftlight.training import optim


def scaler(trainer: L.Trainer) -> Any:
    """The gradient scaler of fp16, or None."""
    return getattr(trainer.precision_plugin, "scaler", None)


def clip(
    task: L.LightningModule, optimizer: Any, most: float | None, algorithm: str | None
) -> Tensor | None:
    """Clips the gradients of a step.

    Lightning's own refuses a fused optimizer under bf16-mixed, although nothing is scaled there.

    Args:
        task: the module that trains.
        optimizer: its optimizer, or Lightning's wrapper of it.
        most: largest norm, or largest value; None or 0 for no clipping.
        algorithm: norm (the default) or value.

    Returns:
        The norm of all gradients before clipping, a scalar on their device. None if the strategy
        or the scaler itself leaves out steps with gradients that are not finite.
    """
    strategy = task.trainer.strategy
    if scaler(task.trainer) is not None or isinstance(strategy, DeepSpeedStrategy):
        task.clip_gradients(optimizer, most, algorithm)
        return None
    if isinstance(strategy, FSDPStrategy) and algorithm != "value":
        # only it knows the norm of what is sharded
        return strategy.model.clip_grad_norm_(most or math.inf)  # type: ignore[union-attr, operator]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    trained = [p for p in parameters if p.grad is not None]
    norm: Tensor = nn.utils.get_total_norm([p.grad for p in trained])
    if algorithm == "value":
        task.clip_gradients(optimizer, most, algorithm)
    elif not optim.clip_in_optimizer(optimizer, norm, most or 0.0):
        assert most is not None
        nn.utils.clip_grads_with_norm_(trained, most, norm)
    return norm
