"""The files of a run that a page shows, read strictly; what a run lacks is empty."""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.data import findings
from ftlight.data.findings import Finding
from ftlight.run import folder as runs
from ftlight.run import outcomes, records
from ftlight.run.outcomes import Outcomes
from ftlight.run.shapes import (
    BASELINES,
    CALIBRATION,
    KEPT,
    LADDER,
    LEARNING,
    TEST,
    VERDICT,
)
from ftlight.utils.errors import UserError
from ftlight.utils.json_file import Shape, misfit

# Names that commands give to folders of runs.
PLAIN = re.compile(r"20\d\d-.*|all|head|fit(-\d+)?|(try|trial|seed|fold)-\d+(-seed-\d+)?")
NEED = {"verdict.json": tuple(VERDICT), "kept.json": tuple(KEPT)}


class Files(NamedTuple):
    """What the files of a run hold; what it lacks is empty.

    Attributes:
        folder: the run.
        name: the run as a person names it: the end of its path.
        facts: run.json.
        config: config.yaml.
        test: test_metrics.json.
        verdict: verdict.json.
        calibration: calibration.json.
        baselines: baselines.json.
        kept: kept.json.
        ladder: auto.json of the ladder that it is a rung of.
        findings: findings.jsonl.
        logged: values of metrics.csv by name, as pairs of optimizer steps and value.
        epochs: rows of epochs.csv.
        wrong: rows of wrong.csv.
        predicted: the first rows of test_predictions.csv.
        validated: how good each validation row is.
    """

    folder: Path
    name: str
    facts: Mapping[str, Any]
    config: Mapping[str, Any]
    test: Mapping[str, Any]
    verdict: Mapping[str, Any]
    calibration: Mapping[str, Any]
    baselines: Mapping[str, Any]
    kept: Mapping[str, Any]
    ladder: Mapping[str, Any]
    findings: Sequence[Finding]
    logged: Mapping[str, Sequence[tuple[int, float]]]
    epochs: Sequence[Mapping[str, str]]
    wrong: Sequence[Mapping[str, str]]
    predicted: Sequence[Mapping[str, str]]
    validated: Outcomes | None

    @property
    def learning(self) -> Mapping[str, Any]:
        """How it learned, as run.json says at its end."""
        found: Mapping[str, Any] = self.facts.get("learning", {})
        return found

    @property
    def monitor(self) -> str:
        """Name of the value that chose its weights."""
        best = next(iter(self.facts.get("best", {})), "val/loss")
        return str(self.learning.get("monitor", best))

    @property
    def is_running(self) -> bool:
        """Whether it trains: it says so, and its process holds the folder."""
        return self.facts.get("status") == "running" and runs.is_locked(self.folder)

    @property
    def data(self) -> Mapping[str, Any]:
        """Options of its data module."""
        options = mapping(mapping(self.config.get("data")).get("init_args"))
        return options or mapping(self.config.get("data"))


def read(folder: Path, shown: int = 10) -> Files:
    """Reads the files of a run.

    Args:
        folder: the run.
        shown: rows of the test that are read beside those to look at.

    Raises:
        UserError: a file is damaged.
    """
    facts = records.facts(folder)
    _check(folder / "run.json", facts.get("learning", {}), LEARNING)
    return Files(
        folder,
        _name(folder),
        facts,
        runs.read_config(folder),
        _of(folder, "test_metrics.json", TEST),
        _of(folder, "verdict.json", VERDICT),
        _of(folder, "calibration.json", CALIBRATION),
        _of(folder, "baselines.json", BASELINES),
        _of(folder, "kept.json", KEPT),
        _ladder(folder),
        findings.read(folder / "findings.jsonl"),
        logged(folder / "metrics.csv"),
        rows(folder / "epochs.csv"),
        rows(folder / "wrong.csv"),
        rows(folder / "test_predictions.csv", shown),
        outcomes.read(folder / "outcomes-validation.npz"),
    )


def _name(folder: Path) -> str:
    """Such as tickets/2026-11-30_10-00-00: what a command calls a folder names nothing alone."""
    place = folder.resolve()
    parts = [place.name]
    while PLAIN.fullmatch(parts[0]) and place.parent.name:
        place = place.parent
        parts.insert(0, place.name)
    return "/".join(parts)


def _ladder(folder: Path) -> dict[str, Any]:
    """The ladder that a run is a rung of; empty if it is none."""
    place = folder.resolve()
    place = place.parent if place.name == runs.ALL else place
    found = _of(place.parent, "auto.json", LADDER)
    is_rung = any(rung.get("run") == place.name for rung in found.get("rungs", []))
    return found if is_rung else {}


def _of(folder: Path, name: str, shape: Shape) -> dict[str, Any]:
    found = records.of(folder / name, shape)
    missing = [key for key in NEED.get(name, ()) if found and key not in found]
    if missing:
        raise UserError(f"{folder / name}: has no {missing[0]}; {records.WAY}")
    return found


def _check(path: Path, value: Any, shape: Shape) -> None:
    if wrong := misfit(value, shape):
        raise UserError(f"{path}: {wrong}; {records.WAY}")


def logged(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Finite values of metrics by name, as pairs of optimizer steps and value; none without a file.

    Half a line at the end, as of a run that is writing it, does not count.
    """
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows(path):
        try:
            step, value = int(row["step"]) + 1, float(row["value"])
        except (KeyError, ValueError, TypeError):
            continue
        if math.isfinite(value):
            found.setdefault(row["name"], []).append((step, value))
    return found


def rows(path: Path, most: int | None = None) -> list[dict[str, str]]:
    """Rows of a CSV file that a run wrote; none without it.

    Args:
        path: the file.
        most: number of rows that are read; all if None.

    Raises:
        UserError: it is no CSV.
    """
    if not path.is_file():
        return []
    csv.field_size_limit(2**31 - 1)
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            names = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=_delimiter(names))
            kept = list(itertools.islice(reader, most))
    except csv.Error as error:
        raise UserError(f"{path}: {error}; {records.WAY}") from None
    return [{str(name): str(v or "") for name, v in row.items() if name} for row in kept]


def _delimiter(names: str) -> str:
    """What divides fields, by the names that ftlight writes last."""
    end = next((e for e in (",prediction", ";prediction", "\tprediction") if e in names), ",")
    return end[0]


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping as it is; an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}
