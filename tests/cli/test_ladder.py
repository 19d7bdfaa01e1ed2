"""The ladder of ``auto``: when its climb is over."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ftlight.cli.ladder import Climb
from ftlight.cli.rung import Rung
from ftlight.evidence import goal


def ladder(aim: str = "") -> Climb:
    wanted = goal.read(aim) if aim else None
    return Climb(Path(), "TextClassification", {}, math.inf, 600.0, {}, goal=wanted)


def rung(name: str, scores: list[float], run: str = "fit", low: float = 0.5) -> Rung:
    mean = float(np.mean(scores))
    metrics = {"accuracy": mean}
    return Rung(name, run, {}, mean, low, 1.0, "accuracy", metrics, np.array(scores), 1.0)


def test_the_climb_is_over_once_a_run_reaches_the_goal() -> None:
    made = ladder("accuracy >= 0.7")
    made.rungs.append(rung("words", [1.0, 1.0, 1.0, 0.0], run=""))
    assert made.is_over == ""  # a cheap model is no run
    made.rungs.append(rung("head", [1.0, 0.0, 1.0, 0.0]))
    assert made.is_over == ""
    made.rungs = [rung("tuned", [1.0, 1.0, 1.0, 0.0])]
    assert made.is_over == "accuracy 0.7500 reaches the goal"


def test_the_climb_is_over_if_no_row_is_left_to_gain() -> None:
    made = ladder()
    made.rungs.append(rung("head", [1.0, 1.0, 0.0]))
    assert made.is_over == ""
    made.rungs = [rung("tuned", [1.0, 1.0, 1.0], low=0.0)]  # of so few that nothing is known
    assert made.is_over == ""
    made.rungs = [rung("tuned", [1.0, 1.0, 1.0])]
    assert made.is_over.startswith("all validation rows are right")
