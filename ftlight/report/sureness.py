"""The section of what probabilities are worth: calibration, and coverage at accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ftlight.report.chart import Chart, Line, draw
from ftlight.report.numbers import number, percent, short
from ftlight.report.reading import Files


class Calibration(NamedTuple):
    """What probabilities are worth.

    Attributes:
        lines: what was fitted and what errors are left, in words.
        goals: share of right answers that is asked for, least score, and share that is answered.
        sets: share of rows whose truth is held, and what that takes.
        chart: how many of the surest answers are right.
        unit: what is answered: rows or spans.
    """

    lines: Sequence[str]
    goals: Sequence[tuple[str, str, str]]
    sets: Sequence[tuple[str, str]]
    chart: Chart | None
    unit: str


def calibration(run: Files) -> Calibration | None:
    """What probabilities are worth; None if they were not calibrated."""
    found = run.calibration
    if not found:
        return None
    unit = found.get("unit", "rows")
    goals = [
        (percent(float(goal)), number(about["threshold"]), percent(about["answered"]))
        if about
        else (percent(float(goal)), "not reachable", "–")
        for goal, about in found.get("at_least", {}).items()
    ]
    sets = [(percent(float(goal)), number(q)) for goal, q in found.get("coverage", {}).items()]
    return Calibration(list(_lines(run)), goals, sets, coverage(run), unit)


def _lines(run: Files) -> Sequence[str]:
    found, said = run.calibration, []
    rows = f"{found.get('rows', 0):,} validation rows"
    if found.get("temperature") is not None:
        apart = "" if found.get("apart", True) else ", which also chose the weights"
        said.append(f"Temperature {found['temperature']:.3g}, fitted on {rows}{apart}.")
    if found.get("error") is not None:
        before = number(found.get("error_before"))
        said.append(
            f"Calibration error on them {number(found['error'])} (before {before}); a calibrated"
            f" model would show {number(found.get('floor'))} by chance."
        )
    if run.test.get("test/calibration_error") is not None:
        error, floor = (run.test.get(f"test/calibration_{key}") for key in ("error", "floor"))
        said.append(f"On the test {number(error)}, by chance {number(floor)}.")
    return said


def coverage(run: Files) -> Chart | None:
    """How many of the surest answers are right, by their share; None if that is not known."""
    kept = run.validated
    if kept is None or kept.sure is None or len(kept.scores) < 10:
        return None
    right = kept.scores
    if not np.isin(right, (0.0, 1.0)).all():
        return None
    order = np.argsort(-kept.sure, kind="stable")
    counts = np.arange(1, len(order) + 1)
    shares, hits = counts / len(order), np.cumsum(right[order]) / counts
    least = max(1, len(order) // 50)  # of few rows a share is chance
    points = list(zip(shares[least - 1 :].tolist(), hits[least - 1 :].tolist(), strict=True))
    ends = (min(hits[least - 1 :].min() - 0.02, 0.98), 1.0)
    title = "Right answers among the surest validation rows"
    return draw(title, [Line(f"all {short(points[-1][1])}", points)], "share answered", y_ends=ends)
