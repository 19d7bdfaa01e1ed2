"""The verdict on a run, from the files that it keeps: verdict.json."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ftlight.evidence.rules import decide
from ftlight.evidence.verdict import Facts, Verdict
from ftlight.run import ending, outcomes, records
from ftlight.run import folder as runs
from ftlight.utils.atomic import write_json
from ftlight.utils.errors import UserError

FILE = "verdict.json"


def verdict(run: str | Path) -> Verdict:
    """The verdict on a finished run, which is also written into its folder as verdict.json.

    Args:
        run: folder of the run.

    Raises:
        UserError: it is not a run, has not ended, or a file of it is damaged.
    """
    folder = runs.find(str(run))
    if "learning" not in records.facts(folder):
        raise UserError(f"{runs.short(folder)} has not ended, or is of a version without verdicts")
    found = decide(facts_of(folder))
    option = found.option.replace("RUN", runs.short(folder))
    found = found._replace(option=option)
    with contextlib.suppress(OSError):  # the screen says it, too
        write_json(folder / FILE, found._asdict())
    return found


def facts_of(folder: Path) -> Facts:
    """What a run keeps of how it learned; of one of before, less.

    Args:
        folder: folder of the run.

    Raises:
        UserError: a file of it is damaged.
    """
    about = records.facts(folder)
    known: Mapping[str, Any] = about.get("learning", {})
    monitor = known.get("monitor", next(iter(about.get("best", {})), "val/loss"))
    logged = _logged(folder / "metrics.csv", {monitor, "val/loss", "train/loss"})
    scores, losses, train = (logged[name] for name in (monitor, "val/loss", "train/loss"))
    if not scores and folder.name == runs.ALL:
        scores, losses = (_of_folds(folder, name, about) for name in (monitor, "val/loss"))
    validated = outcomes.validation(folder)
    tested = outcomes.read(folder / "outcomes-test.npz")
    start = outcomes.read(folder / "outcomes-start.npz")
    return Facts(
        monitor=monitor,
        sign=-1.0 if known.get("mode", "max") == "min" else 1.0,
        train_rows=known.get("rows", {}).get("train", 0),
        labels=known.get("labels", 0),
        total=about.get("steps", 0),
        steps=list(scores),
        scores=list(scores.values()),
        losses=list(losses.values()),
        train_losses=list(train.values()),
        train_steps=list(train),
        constant_loss=known.get("constant_loss"),
        rate=known.get("rate", 0.0),
        skipped=known.get("skipped_steps", 0),
        kept=known.get("kept_step"),
        longer=_longer(folder, about, known),
        floor=known.get("floor"),
        base=_base(about, known),
        rows=None if validated is None else validated.scores,
        chance=None if validated is None else validated.chance,
        sure=None if validated is None else validated.sure,
        start=_paired(start, validated),
        test=None if tested is None else tested.scores,
    )


def _logged(path: Path, names: set[str]) -> dict[str, dict[int, float]]:
    """Values of metrics by the number of optimizer steps before them."""
    found: dict[str, dict[int, float]] = {name: {} for name in names}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["name"] in names and row["step"]:
                    found[row["name"]][int(row["step"]) + 1] = float(row["value"])
    return found


def _of_folds(folder: Path, name: str, about: Mapping[str, Any]) -> dict[int, float]:
    """What folds say of a run on all rows, as its only validation; empty without folds."""
    metrics = records.of(folder.parent / runs.FOLDS, {}).get("metrics", {})
    found = metrics.get(name.removeprefix("val/"), {}).get("value")
    return {} if found is None else {int(about.get("steps", 0)): float(found)}


def _paired(
    start: outcomes.Outcomes | None, best: outcomes.Outcomes | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Scores before the first step and of the kept weights, of the rows that both have."""
    if start is None or best is None:
        return None
    _, first, second = np.intersect1d(start.rows, best.rows, return_indices=True)
    return start.scores[first], best.scores[second]


def _base(about: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """What the weights of step 0 are, in words."""
    if about.get("from"):
        return f"{runs.short(Path(about['from']))}, where it began"
    return "the head alone, as solved" if known.get("kept_step") == 0 else "the untuned model"


def _longer(folder: Path, about: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """How to train longer a run that a limit ended; empty if none did."""
    if known.get("ended_by") == "budget":
        seconds = round(2 * known["budget"])
        return f"--budget {seconds // 60}m" if seconds >= 120 else f"--budget {seconds}s"
    if known.get("ended_by") == "steps":
        return f"{ending.resume(folder)} --trainer.max_steps {2 * about['steps']}"
    if known.get("ended_by") == "epochs":
        return f"{ending.resume(folder)} --trainer.max_epochs {2 * about['epochs']}"
    return ""
