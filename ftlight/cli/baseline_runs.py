"""Options of ``baselines``, and the trainings that it measures beside a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftlight.cli import child
from ftlight.cli.command import Words
from ftlight.run import folder, records
from ftlight.utils.errors import UserError
from ftlight.utils.yaml_file import quoted

DIGITS = 12  # of a number of rows, at most
ALL = 0  # in place of a number of rows
SCRATCH = "from scratch"
# What a training from scratch changes: there is nothing to keep frozen, and no head to solve first.
AFRESH = ("--model.pretrained", "false", "--model.unfreeze", "all", "--model.peft", "null")
QUIET = (
    *("--trainer.wandb", "null", "--trainer.report", "false"),
    *("--trainer.enable_progress_bar", "false"),
)


def sizes(words: Words) -> list[int]:
    """The numbers of rows of ``--rows``, rising; ``ALL`` for all, the last one.

    Raises:
        UserError: one is no number of rows.
    """
    found = set()
    for text in words.own.get("rows", "all").split(","):
        text = text.strip()
        if text == "all":
            found.add(ALL)
        elif text.isascii() and text.isdigit() and len(text) <= DIGITS and int(text) > 1:
            found.add(int(text))
        else:
            raise UserError(f"--rows: expected numbers from 2 on, or all, such as 100,all: {text}")
    return sorted(found - {ALL}) + ([ALL] if ALL in found else [])


def backbones(words: Words, default: str) -> list[str]:
    """The backbones of ``--backbones``, which may be none; the default if it is not given."""
    if "backbones" not in words.own:
        return [default]
    return [] if words.own["backbones"] == "none" else names(words.own["backbones"])


def names(given: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in given.split(",") if name.strip()]


def train(
    run: Path, home: Path, name: str, options: Sequence[str], rows: int | None, labels: list[str]
) -> Path:
    """Trains a run again with other options, or goes on with that.

    Args:
        run: the run.
        home: folder for such trainings.
        name: name of the training.
        options: what it changes.
        rows: rows of train to draw; None for all.
        labels: labels of the run, which a draw of rows may lack.

    Returns:
        Folder of the training.

    Raises:
        UserError: it failed; says how.
    """
    path = home / (name.replace(" ", "-") + (f"-{rows}" if rows else ""))
    log = path.with_suffix(".log")
    if records.facts(path).get("status") == "done":
        return path
    home.mkdir(parents=True, exist_ok=True)
    drawn = ["--data.train_rows", str(rows)] if rows else []
    known = ["--data.known_labels", quoted(labels)] if labels else []
    words = ["-c", str(run / "config.yaml"), "--run", str(path), "--resume", "auto"]
    status = child.run("fit", [*words, *options, *drawn, *known, *QUIET], log)
    if status:
        said = child.last_line(log) or f"status {status}"
        raise UserError(f"{name}: {said} (all of it in {folder.short(log)})")
    return path
