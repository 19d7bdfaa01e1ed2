"""The ladder of ``auto``: what it is climbed with, what was measured, and the time that is left."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ftlight.cli.rung import Rung
from ftlight.evidence import choice
from ftlight.evidence.goal import Goal

DATA = "data.yaml"
TUNED = "fine-tuned"  # name of the rung that is fine-tuned by the defaults
LOADS = 6.0  # seconds until a command computes
PAGE = 8.0  # seconds of the page at the end
UNKNOWN = 0.12  # share of the budget for the test, before its rows' speed is known


@dataclass
class Climb:
    """What a ladder is climbed with.

    Attributes:
        home: its folder, with the config.
        task: name of the task.
        options: options that all rungs have.
        deadline: ``time.monotonic()`` by which all must be done.
        seconds: the whole budget.
        rows: rows by split.
        folds: number of folds that score each run, which has all rows then; 0 for validation rows.
        goal: what ends the climb; None for the end of the time.
        rungs: what was measured.
        used: seconds that runs had taken when they were stopped, by their folders.
    """

    home: Path
    task: str
    options: dict[str, str]
    deadline: float
    seconds: float
    rows: Mapping[str, int]
    folds: int = 0
    goal: Goal | None = None
    rungs: list[Rung] = field(default_factory=list)
    used: dict[str, float] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Seconds that training may still take: the test and the page come after it."""
        return self.deadline - time.monotonic() - self.closing

    @property
    def starting(self) -> float:
        """Seconds that the processes of a run take before they compute."""
        return LOADS * (self.folds + 1)

    @property
    def closing(self) -> float:
        """Seconds that the test and the page will take."""
        page = min(PAGE, 0.08 * self.seconds)
        if not self.rows.get("test"):
            return page
        speeds = [_speed(rung, self.rows) for rung in self.runs if rung.name.startswith("head")]
        if not speeds:
            return page + max(LOADS, UNKNOWN * self.seconds)
        return page + LOADS + 1.2 * self.rows["test"] / max(speeds)

    @property
    def runs(self) -> list[Rung]:
        """The rungs that are runs."""
        return [rung for rung in self.rungs if rung.run]

    @property
    def best(self) -> Rung:
        """The run to keep: a later one only if validation tells it from the earlier ones."""
        runs = self.runs
        scores = [rung.scores for rung in runs if rung.scores is not None]
        if len(scores) == len(runs) and len({len(rows) for rows in scores}) == 1:
            return runs[choice.climb(scores)]
        return max(runs, key=lambda rung: -math.inf if math.isnan(rung.score) else rung.score)

    @property
    def is_over(self) -> str:
        """Why the climb ends here, before its time is over; empty if it does not."""
        if not self.runs:
            return ""
        best = self.best
        if self.goal is not None and self.goal.is_reached(best.metrics):
            return f"{self.goal.metric} {best.metrics[self.goal.metric]:.4f} reaches the goal"
        if best.scores is not None and best.low > 0 and (best.scores == 1).all():
            return "all validation rows are right: they cannot tell what is better"
        return ""


def _speed(rung: Rung, rows: Mapping[str, int]) -> float:
    """Rows a second that a frozen backbone reads."""
    return (rung.rows + rows.get("validation", 0)) / max(1.0, rung.seconds - LOADS)


def config_of(climb: Climb) -> dict[str, Any]:
    """The ladder's config."""
    found: dict[str, Any] = yaml.safe_load((climb.home / DATA).read_text(encoding="utf-8"))
    return found
