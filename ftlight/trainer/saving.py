"""Writes checkpoints, keeps what the disk has no room for, and says what is missing at the end.

last.ckpt is on the disk only if all that it counts on is: the best weights until then, and the
lines of metrics.csv. So a run that goes on from it ends as if the disk had never been full.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging

from ftlight.run import folder as runs
from ftlight.run.loggers import MetricsFile
from ftlight.run.state import RunState
from ftlight.training import checkpoint as files
from ftlight.training import lightning_internals
from ftlight.training.checkpoint import CheckpointIO
from ftlight.training.nonfinite import check_weights
from ftlight.utils.atomic import writing
from ftlight.utils.errors import WriteError

log = logging.getLogger(__name__)
AVERAGING = ("current_model_state", "averaging_state")  # keys of what Lightning's average adds


def save(
    trainer: L.Trainer,
    run: RunState,
    path: str | Path,
    weights_only: bool = False,
    storage_options: Any = None,
    keep: bool = False,
) -> bool:
    """Writes a checkpoint. All processes must call this. Returns whether it was written.

    Args:
        trainer: the trainer.
        run: state of its run.
        path: file to write.
        weights_only: whether only the weights are written; their average, if there is one.
        storage_options: Lightning's.
        keep: whether one that cannot be written waits in memory for :func:`flush`.

    Raises:
        WriteError: it cannot be written, and ``trainer.unsaved`` is stop.
        UserError: the weights are not finite.
    """
    check_weights(trainer)
    path, problem = Path(path), ""
    if not weights_only and not flush(trainer, run):
        problem = f"{path} waits for them"
    else:
        problem = _write(trainer, run, path, weights_only, storage_options, keep)
    run.note(path, problem)
    if problem and run.unsaved == "stop":
        raise WriteError(missing(run))
    if problem:
        log.warning("%s; training goes on (trainer.unsaved)", problem)
    return not problem


def _write(
    trainer: L.Trainer,
    run: RunState,
    path: Path,
    weights_only: bool,
    storage_options: Any,
    keep: bool,
) -> str:
    """Writes a checkpoint. Returns why it could not be written."""
    checkpoint = lightning_internals.dump_checkpoint(trainer, weights_only)
    if weights_only:
        checkpoint = _averaged(trainer, checkpoint)
    trainer.strategy.save_checkpoint(checkpoint, path, storage_options=storage_options)
    io = trainer.strategy.checkpoint_io
    problem = trainer.strategy.broadcast(io.problem if isinstance(io, CheckpointIO) else "")
    run.waiting.pop(path, None)
    if problem and keep:
        run.waiting[path] = files.pack(checkpoint) if trainer.is_global_zero else b""
        problem += "; the new one is kept in memory until then"
    return problem


def flush(trainer: L.Trainer, run: RunState) -> bool:
    """Writes lines of metrics.csv and weights that wait in memory. All processes must call this.

    Returns:
        Whether all is on the disk.
    """
    problems: dict[Path, str] = {}
    if trainer.is_global_zero:
        for metrics in (x for x in trainer.loggers if isinstance(x, MetricsFile)):
            problems[metrics.path] = metrics.flush()
        for path, packed in run.waiting.items():
            problems[path] = files.write_packed(packed, path)
    problems = trainer.strategy.broadcast(problems)
    for path, problem in problems.items():
        run.note(path, problem)
        if problem:
            log.warning("%s", problem)
        else:
            run.waiting.pop(path, None)
    return not any(problems.values())


def note_end(run: RunState, **facts: Any) -> None:
    """Notes in run.json that a run is done, or what of it is not on the disk.

    Args:
        run: state of the run.
        facts: what else to note.
    """
    lacks = list(run.unwritten)
    how = {"status": "unsaved", "unsaved": lacks} if lacks else {"status": "done"}
    path = run.home / "run.json"
    try:
        with writing(path):
            runs.update(run.home, **how, **facts)
    except WriteError as error:
        run.note(path, str(error))
    if not run.unwritten:
        files.remove_previous(run.checkpoints)


def missing(run: RunState) -> str:
    """What a run has not written, and what to do about it; empty if all is on the disk."""
    if not run.unwritten:
        return ""
    # why one could not be written says more than that others wait for it
    why = min(run.unwritten.values(), key=lambda reason: "cannot be written" not in reason)
    lacks = f"not on the disk: {', '.join(run.unwritten)}: {why}"
    return f"{lacks}; make room, then: {run.resume_command}"


def _averaged(trainer: L.Trainer, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint with the average of the weights in their place: that is what is validated."""
    callbacks = lightning_internals.callbacks_of(trainer, WeightAveraging)
    averages = [c for c in callbacks if lightning_internals.has_average(c)]
    if not averages:
        return checkpoint
    averages[0].on_save_checkpoint(trainer, trainer.lightning_module, checkpoint)
    trainer.lightning_module.on_save_checkpoint(checkpoint)
    return {name: value for name, value in checkpoint.items() if name not in AVERAGING}
