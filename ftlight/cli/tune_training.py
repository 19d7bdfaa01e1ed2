"""A training of a tune, which is ``fit`` in a process of its own, and how it ended."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ftlight.cli import child
from ftlight.run import folder, records, tracked
from ftlight.tune import rungs
from ftlight.tune.asked import Asked
from ftlight.utils.errors import UserError, WriteError

QUIET = ("--trainer.test=false", "--trainer.report=false", "--trainer.enable_progress_bar=false")
STOPPED = (75, 129, 130, 141, 143)  # of a training that was asked to stop, and has saved itself


class Measured(NamedTuple):
    """How a training ended.

    Attributes:
        score: the best validation score, as the task has it.
        monitor: its name.
        sign: 1 if more of it is better, else -1.
    """

    score: float
    monitor: str
    sign: float


def train(asked: Asked, run: Path, options: Sequence[str], limit: float, prunes: bool) -> int:
    """Trains, or goes on with that. Returns the status.

    Args:
        asked: what the tune was asked for.
        run: folder of the run.
        options: words that the command line of ``fit`` gets.
        limit: seconds that it may take; infinite without a limit.
        prunes: whether it is cut short if the trials beside it are better.

    Raises:
        WriteError: a disk is full, which is no fault of the settings.
    """
    own = [*asked.fit, *options, *QUIET, f"--run={run}", "--resume=auto"]
    variables = tracked.grouped(asked.home, "trial")
    variables |= {rungs.VARIABLE: "1"} if prunes else {}
    seconds = None if limit == float("inf") else limit
    status = child.run("fit", own, log_of(run), True, variables, seconds)
    if status == WriteError.status:
        why = child.fault(log_of(run)) or f"{folder.short(run)} cannot be written; make room"
        raise WriteError(f"{why}; the same command goes on")
    return status


def log_of(run: Path) -> Path:
    """The file of what a training prints."""
    return run.with_name(f"{run.name}.log")


def is_done(run: Path) -> bool:
    """Whether a training has ended well."""
    return records.facts(run).get("status") == "done"


def measured(run: Path) -> Measured:
    """Reads how a training ended.

    Raises:
        UserError: it was not validated.
    """
    facts = records.facts(run)
    for monitor, score in facts.get("best", {}).items():
        sign = -1.0 if facts.get("learning", {}).get("mode") == "min" else 1.0
        return Measured(float(score), monitor, sign)
    raise UserError(
        f"{folder.short(run)} has no validation score, by which settings are chosen: give"
        " data.validation, or data.validation_split: 0.1"
    )


def remove_checkpoints(run: Path) -> None:
    """Deletes the checkpoints of a run."""
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
