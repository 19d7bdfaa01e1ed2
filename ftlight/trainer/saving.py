"""Writes a checkpoint, and says whether it could."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging

from ftlight.run.state import RunState
from ftlight.training import lightning_internals
from ftlight.training.checkpoint import CheckpointIO
from ftlight.training.nonfinite import check_weights
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)
AVERAGING = ("current_model_state", "averaging_state")  # keys of what Lightning's average adds


def save(
    trainer: L.Trainer,
    run: RunState,
    path: str | Path,
    weights_only: bool = False,
    storage_options: Any = None,
) -> bool:
    """Writes a checkpoint. All processes must call this. Returns whether it was written.

    Args:
        trainer: the trainer.
        run: state of its run.
        path: file to write.
        weights_only: whether only the weights are written; their average, if there is one.
        storage_options: Lightning's.

    Raises:
        UserError: it cannot be written, and ``trainer.unsaved`` is stop; or the weights are not
            finite.
    """
    check_weights(trainer)
    checkpoint = lightning_internals.dump_checkpoint(trainer, weights_only)
    if weights_only:
        checkpoint = _averaged(trainer, checkpoint)
    trainer.strategy.save_checkpoint(checkpoint, path, storage_options=storage_options)
    io = trainer.strategy.checkpoint_io
    problem = trainer.strategy.broadcast(io.problem if isinstance(io, CheckpointIO) else "")
    if problem and run.unsaved == "stop":
        raise UserError(problem)
    if problem:
        log.warning("%s; training goes on (trainer.unsaved)", problem)
    return not problem


def _averaged(trainer: L.Trainer, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint with the average of the weights in their place: that is what is validated."""
    callbacks = lightning_internals.callbacks_of(trainer, WeightAveraging)
    averages = [c for c in callbacks if lightning_internals.has_average(c)]
    if not averages:
        return checkpoint
    averages[0].on_save_checkpoint(trainer, trainer.lightning_module, checkpoint)
    trainer.lightning_module.on_save_checkpoint(checkpoint)
    return {name: value for name, value in checkpoint.items() if name not in AVERAGING}
