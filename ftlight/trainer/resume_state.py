"""What a checkpoint holds beside Lightning's part, so that a run resumes as if never stopped."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer

from ftlight.data.module import DataModule
from ftlight.run import folder as runs
from ftlight.run.state import RunState, state_of
from ftlight.task import Task
from ftlight.trainer import same_rows
from ftlight.training import checkpoint as checkpoint_files
from ftlight.training import lightning_internals, optim
from ftlight.training.checkpoint_shape import misshapen, restoring, unlike
from ftlight.training.lightning_internals import callbacks_of, datamodule
from ftlight.utils.arguments import defaults
from ftlight.utils.atomic import read_json
from ftlight.utils.distributed import gather_objects
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)
KEY = "ftlight"  # of our part of a checkpoint
# An example of that part: others are of the same kinds. Null is possible for what is null here.
EXAMPLE: dict[str, Any] = {
    "rows": {"trainer": {}, "data": {}, "files": {}, "made_with": {}, "splits": {}, "module": ""},
    "losses": [],
    "stepped": 0,
    "validating": False,
    "metrics": 0,
    "max_epochs": None,
    "processes": 0,
    "ended": None,
    "left": 0,
    "budget": {"seconds": 0.0, "used": 0.0, "reserve": 0.0, "test": 0.0},
}
LATER = {"rows", "budget"}  # that 0.1 did not write


def newest(run: RunState, given: str | None) -> str | None:
    """The checkpoint that a run resumes from.

    Its latest intact one; before it has one, the one that it was started from.

    Args:
        run: state of the run.
        given: checkpoint that was asked for, or None.

    Raises:
        UserError: all checkpoints of the run are damaged.
    """
    if run.owns(given):
        return given
    latest = checkpoint_files.newest(run.checkpoints)
    if latest is not None:
        return str(latest)
    return given or read_json(run.home / "run.json").get("began_from")


def settle_rows(trainer: L.Trainer, run: RunState, data: DataModule | None) -> dict[str, Any]:
    """What decides the rows of a fit, for its checkpoints.

    A run that resumes must have the rows that it began with. A new one that begins from another
    one's checkpoint need not if that stands at the end of an epoch; a line then says what differs.

    Raises:
        UserError: rows would be seen twice, or not at all; a line for each thing that changed.
    """
    now, path = same_rows.facts(trainer, data), run.ckpt_path
    if path is None:
        return now
    checkpoint, home = peek(Path(path)), Path(path).absolute().parent.parent
    was = part(checkpoint, path).get("rows") or same_rows.recorded(home)
    with restoring(path):
        in_place, whole = run.resume and run.owns(path), _ends_an_epoch(checkpoint)
        lines = same_rows.changes(was, now, defaults(type(data)), runs.short(home))
    if not in_place:  # a new run is measured on what its own config names
        lines = [line for line in lines if not line.startswith("data.test ")]
    if not in_place and whole:
        for line in lines:
            log.info("%s: %s stands at the end of an epoch", line, runs.short(Path(path)))
        return now
    if lines:
        raise UserError(
            "\n".join(f"{line}; {_way_out(line, path, in_place, whole)}" for line in lines)
        )
    return now


def _way_out(line: str, path: str, in_place: bool, whole: bool) -> str:
    """What to do about a line of what changed."""
    if not in_place:
        return f"{runs.short(Path(path))} stands within an epoch: give it as it was"
    home = Path(path).parent.parent
    if line.startswith("data.test "):
        return f"other data are measured by: python -m ftlight test {runs.short(home)} --data.test"
    anew = "resume with it as it was, or start anew in another --run DIR"
    return f"{anew} (with these weights: --ckpt_path {runs.short(Path(path))})" if whole else anew


def peek(path: Path) -> dict[str, Any]:
    """What a checkpoint holds beside weights; empty if it is no intact file."""
    try:
        stat = path.stat()
        return _peek(path, stat.st_mtime_ns, stat.st_size)
    except Exception:  # missing, a folder of shards, damaged: whatever reads it says so
        return {}


@functools.lru_cache(1)
def _peek(path: Path, changed: int, size: int) -> dict[str, Any]:
    # mapped, so that weights are not read
    found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    kept = {name: found[name] for name in (KEY, "loops", "calibration") if name in found}
    schedule = found.get("callbacks", {}).get("Freezing")
    if isinstance(schedule, Mapping):  # without the weights that it may have to take back
        kept["callbacks"] = {"Freezing": {"options": schedule.get("options", {})}}
    return copy.deepcopy(kept)  # nothing of the file stays mapped


def part(checkpoint: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Our part of a checkpoint; empty if it has none.

    Raises:
        UserError: it is of another shape.
    """
    state = checkpoint.get(KEY, {})
    fault = unlike(state, EXAMPLE, KEY, sound=True)
    if fault:
        raise misshapen(path, fault)
    losses, ended = state.get("losses", []), state.get("ended")
    if not all(isinstance(tensor, torch.Tensor) and tensor.ndim == 1 for tensor in losses):
        raise misshapen(path, f"{KEY}.losses are not tensors")
    with restoring(path):
        if ended is not None:
            epochs, steps, patience, durations = ended
            for value in (epochs, steps, *patience, *durations):
                int(value or 0)
        int(state.get("max_epochs") or 0)
    return dict(state)


def rows_of(home: Path) -> dict[str, Any]:
    """What decided the rows of a run, as its last checkpoint holds it, or its folder tells."""
    path = home / "checkpoints" / checkpoint_files.LAST
    return part(peek(path), path).get("rows") or same_rows.recorded(home)


def _ends_an_epoch(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a run that begins from a checkpoint begins with a new epoch."""
    if "loops" not in checkpoint:
        return False
    batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    is_within = batches["current"]["completed"] > 0 and not batches["is_last_batch"]
    return not is_within or bool(checkpoint.get(KEY, {}).get("ended"))


def collect(trainer: L.Trainer, run: RunState, task: Task, ended: bool) -> dict[str, Any]:
    """Our part of a checkpoint.

    Args:
        trainer: the trainer; all its processes must call this.
        run: state of its run.
        task: the task.
        ended: whether the run has reached its end.
    """
    losses = torch.zeros(0)
    if task.train_losses:
        losses = torch.stack(task.train_losses).float().cpu()
    return {
        "rows": run.rows,
        "losses": gather_objects(losses, trainer.world_size),
        "stepped": lightning_internals.batches_that_stepped(trainer),
        "validating": trainer.validating and not run.between_steps,
        "metrics": runs.length(run.folder),
        "max_epochs": trainer.max_epochs if run.auto_epochs else None,
        "processes": trainer.world_size,
        "ended": _limits(trainer) if ended else None,
        "left": optim.batches_left(trainer),
        "budget": run.budget.state() if run.budget else {},
    }


def mend_progress(checkpoint: dict[str, Any], validation_broken_off: bool) -> None:
    """Corrects what Lightning notes of the place in the epoch.

    Args:
        checkpoint: the checkpoint that is about to be written.
        validation_broken_off: whether it is written instead of the rest of a validation.
    """
    loops = checkpoint["loops"]["fit_loop"]
    if validation_broken_off:
        # with this Lightning begins the validation, and does not train on the batch before it again
        zero = dict.fromkeys(("ready", "completed", "started", "processed"), 0)
        loops["epoch_loop.val_loop.batch_progress"] = {
            "total": {**zero, "ready": 1, "started": 1},
            "current": zero,
            "is_last_batch": False,
        }
    batches = loops["epoch_loop.batch_progress"]
    if batches["total"]["ready"] > batches["total"]["started"]:  # one will be fetched again
        batches["is_last_batch"] = False


def restore(trainer: L.Trainer, run: RunState, checkpoint: dict[str, Any]) -> None:
    """Applies our part of a checkpoint to the trainer's limits, and says where the run resumes.

    Raises:
        UserError: no run can resume from where the checkpoint was made.
    """
    path = str(run.ckpt_path)
    state = part(checkpoint, path)
    if lacks := EXAMPLE.keys() - LATER - state.keys():
        raise misshapen(path, f"it lacks {KEY}.{min(lacks)}")
    for name, own in (("loops", {"fit_loop": trainer.fit_loop.state_dict()}), ("global_step", 0)):
        fault = unlike(checkpoint[name], own, name, sound=True)
        if fault:
            raise misshapen(path, fault)
    _check_place(trainer, checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"])
    if run.auto_epochs and state["max_epochs"]:
        trainer.fit_loop.max_epochs = state["max_epochs"]
    _take_budget(trainer, run, checkpoint)
    out_of_patience = False
    for stopping in trainer.early_stopping_callbacks:
        theirs = checkpoint["callbacks"].get(stopping.state_key, {"wait_count": 0})
        theirs["patience"] = stopping.patience  # of this run
        out_of_patience |= theirs["wait_count"] >= theirs["patience"]
    all_steps = 0 < optim.max_steps(trainer) <= checkpoint["global_step"]
    trainer.should_stop = out_of_patience or all_steps or state["ended"] == _limits(trainer)
    _say_where(trainer, checkpoint)


def _take_budget(trainer: L.Trainer, run: RunState, checkpoint: dict[str, Any]) -> None:
    """Goes on with the plan of a run that resumes; a new run has all of its time."""
    state = checkpoint[KEY].get("budget", {})
    if not run.goes_on:
        for timer in callbacks_of(trainer, Timer):
            checkpoint["callbacks"][timer.state_key] = {"time_elapsed": {}}
    elif run.budget is not None and state:
        with restoring(run.ckpt_path):
            run.budget.take(state)
    elif run.auto_epochs and "budget" not in checkpoint[KEY] and not checkpoint[KEY]["max_epochs"]:
        run.budget, run.auto_epochs = None, False  # it began when time alone ended a run


def _say_where(trainer: L.Trainer, checkpoint: dict[str, Any]) -> None:
    state, step = checkpoint[KEY], f"{checkpoint['global_step']:,}"
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    if 0 < optim.max_steps(trainer) < checkpoint["global_step"]:
        log.info(
            "nothing is left to train: the run has taken %s steps, trainer.max_steps is %d",
            step,
            optim.max_steps(trainer),
        )
    elif trainer.should_stop or 0 < (trainer.max_epochs or 0) <= epochs:
        log.info("nothing is left to train after step %s", step)
    else:
        log.info("resuming from step %s, epoch %d", step, epochs + 1)
        if state["ended"] and state["left"]:
            log.info(
                "the run had ended within an epoch: its other %d batches are left out",
                state["left"],
            )
    if state["processes"] != trainer.world_size:
        log.info(
            "%d processes instead of %d: each step has the same rows,"
            " but weights will not be bit-equal",
            trainer.world_size,
            state["processes"],
        )


def _limits(trainer: L.Trainer) -> list[Any]:
    """What ends a run: if it is unchanged, a run that has ended has nothing left to do."""
    run = state_of(trainer)
    return [
        trainer.max_epochs,
        trainer.max_steps if run is None else run.max_steps,  # not those that were planned
        [c.patience for c in trainer.early_stopping_callbacks],
        [lightning_internals.duration(timer) for timer in callbacks_of(trainer, Timer)],
    ]


def _check_place(trainer: L.Trainer, batches: dict[str, Any]) -> None:
    """Refuses a checkpoint that a callback wrote after the last batch of an epoch.

    Warns if the data are not ftlight's, and so cannot resume within an epoch.
    """
    done = batches["current"]
    if batches["is_last_batch"] and done["processed"] == done["completed"] + 1:
        raise UserError(
            "the checkpoint was made between the last batch of an epoch and its validation;"
            " take last.ckpt, or another"
        )
    within_epoch = 0 < done["completed"] and not batches["is_last_batch"]
    if within_epoch and not isinstance(datamodule(trainer), DataModule):
        log.warning(
            "the data module is not ftlight's and begins the epoch anew:"
            " some rows are seen twice, others perhaps not at all"
        )
