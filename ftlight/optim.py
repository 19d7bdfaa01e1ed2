"""Parameter groups and learning rates as pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

Shape = Literal["linear", "cosine", "constant"]


def default_lr(width: int) -> float:
    """A learning rate for full fine-tuning with AdamW by the backbone's width: 1e-4 at 384, 5e-5 at 768.

    >>> default_lr(384), default_lr(768)
    (0.0001, 5e-05)
    """
    return round(min(max(1e-4 * 384 / width, 1e-5), 3e-4), 7)


def steps_per_epoch(trainer: Any) -> int:
    """Optimizer steps of an epoch, once the trainer knows its data."""
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


def total_steps(trainer: Any) -> int:
    """Optimizer steps of the whole run; 0 where nothing but time ends it."""
    limits = [trainer.max_epochs * steps_per_epoch(trainer)] if (trainer.max_epochs or 0) > 0 else []
    limits += [trainer.max_steps] if trainer.max_steps > 0 else []
    return min(limits, default=0)


def shape(step: int, total: int, warmup: float, form: Shape) -> float:
    """The factor on every learning rate at an optimizer step.

    Args:
        step: number of the step, from 0.
        total: steps of the run.
        warmup: share of the steps in which the factor rises to 1.
        form: how it falls to 0 after that.

    >>> [shape(s, 10, 0.2, "linear") for s in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.125]
    """
    rise = math.ceil(total * warmup)
    if step < rise:
        return (step + 1) / rise
    if form == "constant":
        return 1.0
    left = max(0.0, (total - step) / max(1, total - rise))
    return left if form == "linear" else 0.5 * (1 - math.cos(math.pi * left))


def groups(
    model: nn.Module, layers: Mapping[str, Sequence[str]], lr: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Optimizer groups, one per layer and decay: biases and norms (vectors) do not decay.

    Args:
        model: the model.
        layers: parameter names by layer, bottom to top.
        lr: learning rate of the top-most layer.
        weight_decay: weight decay of matrices.
        layer_decay: factor on the rate from each layer to the one below it.

    Returns:
        Groups with ``params``, ``name``, ``base_lr`` (before the schedule's factor), ``lr`` and ``weight_decay``.
    """
    named = dict(model.named_parameters())
    made = []
    for depth, (layer, members) in enumerate(reversed(list(layers.items()))):
        rate = lr * layer_decay**depth
        for decays in (True, False):
            chosen = [named[n] for n in members if (named[n].ndim >= 2 and not n.endswith("bias")) == decays]
            if chosen:
                name = layer if decays else f"{layer}, no decay"
                decay = weight_decay if decays else 0.0
                made.append({"params": chosen, "name": name, "base_lr": rate, "lr": rate, "weight_decay": decay})
    return made[::-1]
