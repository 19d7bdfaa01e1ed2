"""How a run ended that is not done, and how it goes on."""

from __future__ import annotations

import contextlib
import csv
import shlex
from pathlib import Path

from ftlight.run import records
from ftlight.run.folder import short

WORDS = {
    "stopped": "was stopped",
    "failed": "failed",
    "running": "has not ended, or was killed",
}


def unfinished(folder: Path) -> str:
    """How a run ended before it was done, such as ``runs/x was stopped in epoch 6 of 30``.

    Args:
        folder: folder of the run.

    Returns:
        The words; empty if it is done, or does not say.

    Raises:
        UserError: run.json is damaged.
    """
    facts = records.facts(folder)
    word = WORDS.get(facts.get("status", ""))
    if word is None:
        return ""
    done, total = 0, facts.get("epochs", 0)
    # the file tells no more than this; without it, or with a broken one, the epoch is the first
    with (
        contextlib.suppress(OSError, ValueError, KeyError, TypeError, csv.Error),
        (folder / "epochs.csv").open(newline="") as file,
    ):
        done = max((int(row["epoch"]) for row in csv.DictReader(file)), default=0)
    if total and done >= total:
        return f"{short(folder)} {word} after its last epoch"
    return f"{short(folder)} {word} in epoch {done + 1}{f' of {total}' if total else ''}"


def resume(folder: Path) -> str:
    """The command with which a run goes on."""
    return f"python -m ftlight fit --resume {shlex.quote(short(folder))}"
