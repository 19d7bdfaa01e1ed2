"""What a checkpoint holds beside Lightning's part, so that a run resumes as if never stopped."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import Timer

from ftlight.data.module import DataModule
from ftlight.run import folder as runs
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.training import checkpoint as checkpoint_files
from ftlight.training import lightning_internals, optim
from ftlight.training.lightning_internals import callbacks_of, datamodule
from ftlight.utils.atomic import read_json
from ftlight.utils.distributed import gather_objects
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)
KEY = "ftlight"  # of our part of a checkpoint


def is_done(run: RunState) -> bool:
    """Whether a run has ended and its config asks no more of it; says so."""
    if not run.config:
        return False
    if not runs.same_config(runs.read_config(run.home), yaml.safe_load(run.config_yaml)):
        return False
    if read_json(run.home / "run.json").get("status") != "done":
        return False
    log.info(
        "%s is done; nothing is left to do"
        " (for more raise trainer.max_epochs, max_steps or patience)",
        runs.short(run.home),
    )
    return True


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
        "losses": gather_objects(losses, trainer.world_size),
        "stepped": lightning_internals.batches_that_stepped(trainer),
        "validating": trainer.validating,
        "metrics": runs.length(run.folder),
        "max_epochs": trainer.max_epochs if run.auto_epochs else None,
        "processes": trainer.world_size,
        "ended": _limits(trainer) if ended else None,
        "left": optim.batches_left(trainer),
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
    state = checkpoint[KEY]
    _check_place(trainer, checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"])
    if run.auto_epochs and state["max_epochs"]:
        trainer.fit_loop.max_epochs = state["max_epochs"]
    out_of_patience = False
    for stopping in trainer.early_stopping_callbacks:
        theirs = checkpoint["callbacks"].get(stopping.state_key, {"wait_count": 0})
        theirs["patience"] = stopping.patience  # of this run
        out_of_patience |= theirs["wait_count"] >= theirs["patience"]
    all_steps = 0 < optim.max_steps(trainer) <= checkpoint["global_step"]
    trainer.should_stop = out_of_patience or all_steps or state["ended"] == _limits(trainer)
    _say_where(trainer, checkpoint)


def _say_where(trainer: L.Trainer, checkpoint: dict[str, Any]) -> None:
    state, step = checkpoint[KEY], f"{checkpoint['global_step']:,}"
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    if trainer.should_stop or 0 < (trainer.max_epochs or 0) <= epochs:
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
    return [
        trainer.max_epochs,
        optim.max_steps(trainer),
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
