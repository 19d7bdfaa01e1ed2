"""Parameter groups, steps and default rates as pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ftlight.utils.errors import UserError


def default_lr(width: int) -> float:
    """A learning rate for full fine-tuning with AdamW by the backbone's width: 1e-4 at 384, 5e-5 at 768.

    >>> default_lr(384), default_lr(768)
    (0.0001, 5e-05)
    """
    return round(min(max(1e-4 * 384 / width, 1e-5), 3e-4), 7)


def steps_per_epoch(trainer: Any) -> int:
    """Optimizer steps of an epoch, once the trainer knows its data.

    Raises:
        UserError: the data have no length.
    """
    if not math.isfinite(trainer.num_training_batches):
        raise UserError(
            "the training data have no length: give trainer.limit_train_batches, the batches of an epoch"
        )
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


def batches_left(trainer: Any) -> int:
    """Training batches of the epoch that were not trained on; 0 where the data have no length."""
    done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
    return (
        int(trainer.num_training_batches - done)
        if math.isfinite(trainer.num_training_batches)
        else 0
    )


def max_steps(trainer: Any) -> int:
    """Optimizer steps after which a run ends; -1 for no such limit. ftlight's trainer keeps it from Lightning."""
    return getattr(trainer, "steps_limit", trainer.max_steps)


def total_steps(trainer: Any) -> int:
    """Optimizer steps of the whole run; 0 where nothing but time ends it."""
    sized = math.isfinite(trainer.num_training_batches)
    limits = (
        [trainer.max_epochs * steps_per_epoch(trainer)]
        if sized and (trainer.max_epochs or 0) > 0
        else []
    )
    limits += [max_steps(trainer)] if max_steps(trainer) > 0 else []
    return min(limits, default=0)


def runs_all_batches(trainer: Any, stage: str) -> bool:
    """Whether all batches of a stage (train, val, test) are run, none left out by an option."""
    limit = getattr(trainer, f"limit_{stage}_batches")
    return (
        isinstance(limit, float) and limit == 1.0 and not trainer.overfit_batches
    )  # 1 is one batch, 1.0 all of them


def clip_in_optimizer(optimizer: Any, norm: Tensor, most: float) -> bool:
    """Has a fused optimizer divide the gradients of its next step by what they are too large, without a pass over them.

    Args:
        optimizer: the optimizer, or Lightning's wrapper of it.
        norm: norm of all gradients, a scalar on their device.
        most: largest norm; 0 for no clipping.

    Returns:
        Whether nothing is left to be done; one that is not fused, or whose gradients are spread over processes, cannot.
    """
    optimizer = getattr(optimizer, "optimizer", optimizer)
    able = isinstance(optimizer, torch.optim.Adam | torch.optim.SGD) and bool(
        optimizer.defaults["fused"]
    )
    able = able and not hasattr(norm, "full_tensor")
    optimizer.grad_scale = (norm.detach().float() / most).clamp(min=1) if able and most else None
    return able or not most


def groups(
    model: nn.Module, layers: Mapping[str, Sequence[str]], weight_decay: float
) -> list[dict[str, Any]]:
    """Optimizer groups, one per layer and decay: biases and norms (vectors) do not decay.

    All parameters are in them from the first step to the last, whatever is frozen: optimizers skip what has no gradient.

    Args:
        model: the model.
        layers: parameter names by layer, bottom to top.
        weight_decay: weight decay of matrices.

    Returns:
        Groups with ``params``, ``name``, ``layer``, ``depth`` (layers above it), ``lr`` (0, set at each step) and ``weight_decay``.
    """
    named = dict(model.named_parameters())
    made = []
    for height, (layer, members) in enumerate(layers.items()):
        for decays in (True, False):
            chosen = [
                named[n]
                for n in members
                if (named[n].ndim >= 2 and not n.endswith("bias")) == decays
            ]
            if chosen:
                about = {
                    "name": layer if decays else f"{layer}, no decay",
                    "layer": layer,
                    "depth": len(layers) - 1 - height,
                }
                made.append(
                    {
                        "params": chosen,
                        **about,
                        "lr": 0.0,
                        "weight_decay": weight_decay if decays else 0.0,
                    }
                )
    return made
