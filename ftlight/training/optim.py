"""Parameter groups, numbers of steps and default rates, as pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from ftlight.run.state import state_of
from ftlight.training import lightning_internals
from ftlight.utils.errors import UserError


def default_lr(width: int) -> float:
    """A learning rate for full fine-tuning with AdamW: 1e-4 at a width of 384, 5e-5 at 768.

    >>> default_lr(384), default_lr(768)
    (0.0001, 5e-05)
    """
    return round(min(max(1e-4 * 384 / width, 1e-5), 3e-4), 7)


def steps_per_epoch(trainer: L.Trainer) -> int:
    """Optimizer steps of an epoch, once the trainer knows its data.

    Raises:
        UserError: the data have no length.
    """
    if not math.isfinite(trainer.num_training_batches):
        raise UserError(
            "the training data have no length: give trainer.limit_train_batches,"
            " the batches of an epoch"
        )
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


def batches_left(trainer: L.Trainer) -> int:
    """Training batches of the epoch that are still to come; 0 if the data have no length."""
    if not math.isfinite(trainer.num_training_batches):
        return 0
    done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
    return int(trainer.num_training_batches - done)


def max_steps(trainer: L.Trainer) -> int:
    """Optimizer steps after which a run ends; -1 for no limit.

    ftlight's trainer does not tell Lightning: see :class:`ftlight.trainer.trainer.Trainer`. Those
    that a time limit leaves room for count as well, once they are planned.
    """
    run = state_of(trainer)
    return trainer.max_steps if run is None else run.most_steps


def total_steps(trainer: L.Trainer, in_vain: int = 0, as_planned: bool = False) -> int:
    """Optimizer steps of the whole run; 0 if neither epochs nor steps end it.

    Args:
        trainer: the trainer.
        in_vain: steps that were taken back: epochs count them, ``max_steps`` does not.
        as_planned: whether to count those that were first planned for a time limit, even if there
            are fewer now.
    """
    limits = []
    epochs = trainer.max_epochs or 0
    if epochs > 0 and math.isfinite(trainer.num_training_batches):
        limits.append(epochs * steps_per_epoch(trainer) - in_vain)
    run = state_of(trainer)
    steps = run.first_steps if as_planned and run is not None else max_steps(trainer)
    if steps > 0:
        limits.append(steps)
    return min(limits, default=0)


def runs_all_batches(trainer: L.Trainer, stage: str) -> bool:
    """Whether a stage (train, val, test) runs all its batches: no option leaves any out."""
    limit = getattr(trainer, f"limit_{stage}_batches")
    # 1 is one batch, 1.0 all of them
    everything = isinstance(limit, float) and limit == 1.0
    return everything and not lightning_internals.overfits(trainer)


def clip_in_optimizer(optimizer: Any, norm: Tensor, most: float) -> bool:
    """Has a fused optimizer scale the gradients of its next step, which saves a pass over them.

    Args:
        optimizer: the optimizer, or Lightning's wrapper of it.
        norm: norm of all gradients, a scalar on their device.
        most: largest norm; 0 for no clipping.

    Returns:
        Whether the gradients need no clipping any more. An optimizer that is not fused, or has its
        gradients divided among processes, cannot do it.
    """
    optimizer = getattr(optimizer, "optimizer", optimizer)
    is_fused = isinstance(optimizer, torch.optim.Adam | torch.optim.SGD) and bool(
        optimizer.defaults["fused"]
    )
    able = is_fused and not hasattr(norm, "full_tensor")
    optimizer.grad_scale = (norm.detach().float() / most).clamp(min=1) if able and most else None
    return able or not most


def groups(
    model: nn.Module, layers: Mapping[str, Sequence[str]], weight_decay: float
) -> list[dict[str, Any]]:
    """Optimizer groups, one per layer and decay: biases and norms (vectors) do not decay.

    All parameters are in them from the first step to the last, frozen or not: optimizers skip
    parameters without a gradient.

    Args:
        model: the model.
        layers: parameter names by layer, bottom to top.
        weight_decay: weight decay of matrices.

    Returns:
        Groups with ``params``, ``name``, ``layer``, ``depth`` (layers above it), ``lr`` (0; set
        before each step) and ``weight_decay``.
    """
    parameters = dict(model.named_parameters())
    made = []
    for height, (layer, names) in enumerate(layers.items()):
        matrices: list[nn.Parameter] = []
        vectors: list[nn.Parameter] = []
        for name in names:
            decays = parameters[name].ndim >= 2 and not name.endswith("bias")
            (matrices if decays else vectors).append(parameters[name])
        about = {"layer": layer, "depth": len(layers) - 1 - height, "lr": 0.0}
        if matrices:
            made.append({"params": matrices, "name": layer, **about, "weight_decay": weight_decay})
        if vectors:
            made.append(
                {"params": vectors, "name": f"{layer}, no decay", **about, "weight_decay": 0.0}
            )
    return made
