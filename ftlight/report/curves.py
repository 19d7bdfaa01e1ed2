"""The section of curves: losses, the score and the rate over the steps, stages drawn in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.report.chart import Chart, Line, draw
from ftlight.report.numbers import number
from ftlight.report.reading import Files
from ftlight.utils.format import rate


class Stage(NamedTuple):
    """A stage of the schedule in words.

    Attributes:
        name: its number.
        train: what trains.
        begins: the step at which it begins.
        rate: its learning rate, or that the head is solved.
    """

    name: str
    train: str
    begins: int
    rate: str


class Curves(NamedTuple):
    """What is shown of the course of a training.

    Attributes:
        charts: its curves.
        stages: its stages.
        chosen: the step whose weights are kept, in words.
        head: names of the columns of a table with all figures.
        rows: its rows: one for each epoch or validation.
    """

    charts: Sequence[Chart]
    stages: Sequence[Stage]
    chosen: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def curves(run: Files) -> Curves | None:
    """The curves of a run; None if nothing was logged and no stage is known."""
    stages = [_stage(i, s) for i, s in enumerate(run.learning.get("stages", []), 1)]
    found = charts(run, stages)
    if not found and not stages:
        return None
    kept = run.learning.get("kept_step")
    return Curves(found, stages, chosen(kept), *table(run))


def chosen(step: int | None) -> str:
    """Which weights were kept, in words; empty if that is not known."""
    if step is None:
        return ""
    return f"the weights of step {step:,} are kept" if step else "the head is kept as it was solved"


def charts(run: Files, stages: Sequence[Stage] = ()) -> list[Chart]:
    """Losses, the score and the rate over the steps.

    Args:
        run: the run.
        stages: stages that are drawn in.
    """
    logged, monitor = run.logged, run.monitor
    rates = [(step, value) for step, value in _pairs(run.learning.get("rates", []))]
    losses = [
        Line("train", logged.get("train/loss") or logged.get("train/loss_step", []), 2),
        Line("validation", logged.get("val/loss", []), 1),
    ]
    scores = [Line(_plain(monitor), logged.get(monitor, []))] if monitor != "val/loss" else []
    steps = [step for line in [*losses, *scores] for step, _ in line.points]
    most = float(max([*steps, *(step for step, _ in rates)], default=0))
    bands = [(float(stage.begins), stage.name) for stage in stages]
    kept = run.learning.get("kept_step")
    shown = [
        draw("Loss", losses, bands=bands, chosen=kept, x_most=most),
        draw(f"{_plain(monitor)} of validation", scores, bands=bands, chosen=kept, x_most=most),
        draw("Learning rate of the top layer", [Line("rate", rates)], bands=bands, x_most=most),
    ]
    return [chart for chart in shown if chart is not None]


def table(run: Files) -> tuple[list[str], list[list[str]]]:
    """The figures of each validation or epoch, with the names of their columns."""
    names = list(dict.fromkeys(["train/loss", "val/loss", run.monitor]))
    names = [name for name in names if name in run.logged]
    by_step = {name: dict(run.logged[name]) for name in names}
    steps = sorted({step for values in by_step.values() for step in values})
    speeds = {row.get("step", ""): row.get("rows_per_second", "") for row in run.epochs}
    rows = [
        [
            f"{step:,}",
            *(number(by_step[name].get(step)) for name in names),
            speeds.get(str(step), ""),
        ]
        for step in steps[-200:]
    ]
    return ["step", *names, "rows per second"], rows


def _stage(place: int, about: Mapping[str, Any]) -> Stage:
    value = about.get("lr")
    how = "solved" if value is None else f"rate {rate(value)}"
    return Stage(str(place), ", ".join(about.get("train", [])), about.get("begins", 0), how)


def _pairs(values: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    return [(pair[0], pair[1]) for pair in values if len(pair) == 2]


def _plain(name: str) -> str:
    return name.removeprefix("val/").removeprefix("test/")
