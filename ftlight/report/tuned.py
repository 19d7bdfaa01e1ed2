"""The page about a tune: its trials in order, what they chose, and what decides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.report.chart import Chart, Line, Mark, apart, draw, path
from ftlight.report.numbers import number
from ftlight.tune.space import as_text
from ftlight.utils.errors import shortened
from ftlight.utils.format import span
from ftlight.utils.json_file import ANY, Shape, read

FILE = "tune.json"
NUMBER = (float, None)
TRIAL: Shape = {
    "number": int,
    "state": str,
    "score": NUMBER,
    "seconds": float,
    "settings": {},
    "why": str,
}
TUNE: Shape = {
    "score": str,
    "goal": {"max", "min"},
    "names": [str],
    "trials": [TRIAL],
    "repeated": [{"trial": int, "seed": int, "score": float}],
    "importance": {ANY: float},
    "best": {"trial": int, "run": str, "settings": {}},
    "test": {ANY: NUMBER},
    "verdict": str,
    "note": str,
}
NEED = tuple(TUNE)
HEIGHT, TOP, SIDE, WIDE = 220.0, 30.0, 70.0, 150.0  # of a drawing; WIDE from axis to axis
LOG = 20.0  # times that values lie apart on a logarithmic axis, at least
MOST_TICKS = 8  # of an axis of words


class Axis(NamedTuple):
    """An axis of the drawing of all settings.

    Attributes:
        name: the option.
        x: its place.
        ticks: its values.
    """

    name: str
    x: float
    ticks: Sequence[Mark]


class Parallel(NamedTuple):
    """A line for each trial through its settings, up to its score.

    Attributes:
        width: of the drawing.
        height: of it.
        axes: the options, then the score.
        lines: kind and ``d`` of each trial: 1 of the best, 2 of others.
    """

    width: float
    height: float
    axes: Sequence[Axis]
    lines: Sequence[tuple[int, str]]


def load(folder: Path) -> Mapping[str, Any]:
    """Reads tune.json.

    Raises:
        UserError: it is damaged.
    """
    found: Mapping[str, Any] = read(folder / FILE, TUNE, "end the tune again", NEED)
    return found


def section(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the template shows of a tune, by name."""
    names, trials = found["names"], found["trials"]
    best = found["best"]
    return {
        "name": name,
        "sentences": [line for line in (found["verdict"], found["note"]) if line],
        "best": best["run"],
        "settings": [(key, as_text(value)) for key, value in best["settings"].items()],
        "test": [(key, number(v)) for key, v in found["test"].items()],
        "history": history(trials, found["score"], found["goal"] == "max"),
        "parallel": parallel(trials, names, found["score"], best["trial"]),
        "importance": sorted(found["importance"].items(), key=lambda item: -item[1]),
        "names": names,
        "score": found["score"],
        "rows": [_row(trial, names) for trial in trials],
        "repeated": [(r["trial"], r["seed"], number(r["score"])) for r in found["repeated"]],
    }


def _row(trial: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    settings = trial["settings"]
    return {
        "number": trial["number"],
        "score": number(trial["score"]),
        "time": span(trial["seconds"]),
        "state": "the config as it is" if trial["number"] == 0 else trial["state"],
        "cells": [as_text(settings[name]) if name in settings else "" for name in names],
        "why": trial["why"],
    }


def history(trials: Sequence[Mapping[str, Any]], score: str, rises: bool) -> Chart | None:
    """The score of each trial, and the best so far."""
    points = [(float(t["number"]), t["score"]) for t in trials if t["score"] is not None]
    best, so_far = list[tuple[float, float]](), math.nan
    for at, value in points:
        is_better = math.isnan(so_far) or (value > so_far if rises else value < so_far)
        so_far = value if is_better else so_far
        best.append((at, so_far))
    return draw(score, [Line("best", best), Line("trials", points, 2)], x_name="trial")


def parallel(
    trials: Sequence[Mapping[str, Any]], names: Sequence[str], score: str, best: int
) -> Parallel | None:
    """The settings of all trials; None if there are not two to draw.

    Args:
        trials: the trials.
        names: options that vary.
        score: name of the score.
        best: number of the trial that is kept.
    """
    drawn = [t for t in trials if t["score"] is not None and all(n in t["settings"] for n in names)]
    if len(drawn) < 2 or not names:
        return None
    columns = [[t["settings"][name] for t in drawn] for name in names]
    columns.append([t["score"] for t in drawn])
    axes, places = [], []
    for i, (name, values) in enumerate(zip([*names, score], columns, strict=True)):
        at, ticks = _scaled(values)
        x = SIDE + i * WIDE
        axes.append(Axis(name, x, apart([Mark(x + 5, y, text) for text, y in ticks])))
        places.append([(x, y) for y in at])
    order = sorted(range(len(drawn)), key=lambda i: drawn[i]["number"] == best)  # the best on top
    lines = [(1 if drawn[i]["number"] == best else 2, path([p[i] for p in places])) for i in order]
    return Parallel(2 * SIDE + len(names) * WIDE, HEIGHT, axes, lines)


def _scaled(values: Sequence[Any]) -> tuple[list[float], list[tuple[str, float]]]:
    """Places of values on an axis, and its ticks with theirs."""
    room = HEIGHT - TOP - 20
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        low, high = min(values), max(values)
        is_log = low > 0 and high / low >= LOG
        scale = math.log if is_log else float
        reach = (scale(high) - scale(low)) or 1.0
        at = [round(TOP + room * (1 - (scale(v) - scale(low)) / reach), 1) for v in values]
        ends = {min(at): f"{high:.3g}", max(at): f"{low:.3g}"}
        return at, [(text, y) for y, text in ends.items()]
    words = list(dict.fromkeys(map(as_text, values)))
    step = room / max(1, len(words) - 1)
    places = {word: round(TOP + i * step, 1) for i, word in enumerate(words)}
    ticks = [(shortened(word, 22), y) for word, y in places.items()]
    return [places[as_text(v)] for v in values], ticks[:MOST_TICKS]
