"""Several runs side by side: the same rows, paired, and what else tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ftlight.evidence import comparing
from ftlight.evidence.comparing import Group
from ftlight.report.chart import Chart, Line, draw
from ftlight.report.numbers import Interval, interval_of, number, p_value, placed, signed
from ftlight.report.reading import Files
from ftlight.run import folder as runs
from ftlight.utils.errors import UserError
from ftlight.utils.format import count, span


class GroupRow(NamedTuple):
    """Runs that differ only in their seed, beside the first ones.

    Attributes:
        name: what tells them apart.
        seeds: their seeds.
        score: their mean score.
        difference: what they are better by than the first, with its interval.
        p: its p-value.
        says: better, worse or neither; empty of the first.
    """

    name: str
    seeds: str
    score: Interval
    difference: str
    p: str
    says: str


class Beside(NamedTuple):
    """Runs side by side.

    Attributes:
        title: what was measured.
        groups: the runs, put together if they differ only in their seed.
        problem: why they cannot be compared; empty if they can.
        names: name of each run.
        figures: what they are measured by: a name, and a value of each run.
        options: options in which they differ: a name, and a value of each run.
        charts: their scores over the steps, all on one scale.
    """

    title: str
    groups: Sequence[GroupRow]
    problem: str
    names: Sequence[str]
    figures: Sequence[tuple[str, Sequence[str]]]
    options: Sequence[tuple[str, Sequence[str]]]
    charts: Sequence[Chart]


def beside(found: Sequence[Files]) -> Beside:
    """Compares runs with the first of them."""
    title, groups, problem = "", list[GroupRow](), ""
    try:
        split, loaded = comparing.load([run.folder for run in found])
        score, compared = comparing.compare(loaded)
        title = f"{score} of {len(loaded[0].outcomes.scores):,} rows of {split}"
        groups = rows(compared)
    except UserError as error:
        problem = str(error)
    names = named(found)
    return Beside(
        title, groups, problem, names, figures(found), options(found), charts(found, names)
    )


def named(found: Sequence[Files]) -> list[str]:
    """A name of each run; the paths if two have the same."""
    names = [run.name for run in found]
    return names if len(set(names)) == len(names) else [runs.short(run.folder) for run in found]


def rows(groups: Sequence[Group]) -> list[GroupRow]:
    """Groups of runs as rows of a table."""
    ends = [end for group in groups for end in (group.spread.low, group.spread.high)]
    scale = (min(ends), max(ends))
    found = []
    for group in groups:
        spread, other, says = group.spread, group.difference, ""
        if other is not None and group.p is not None:
            says = "neither, as far as these rows tell"
            if group.p < 0.05:
                says = "better" if other.gain > 0 else "worse"
        seeds = [str(run.seed) for run in group.runs if run.seed is not None]
        gain = "" if other is None else f"{signed(other.gain)} ({interval_of(other._asdict())})"
        score = placed(spread.mean, spread.low, spread.high, scale)
        p = "" if group.p is None else p_value(group.p)
        found.append(GroupRow(group.name, " ".join(seeds), score, gain, p, says))
    return found


def figures(found: Sequence[Files]) -> list[tuple[str, list[str]]]:
    """What runs are measured by, each beside the others."""
    main = f"test/{found[0].monitor.removeprefix('val/')}"
    known = dict.fromkeys(
        name
        for run in found
        for name, value in run.test.items()
        if name.startswith("test/") and isinstance(value, (int, float))
    )
    names = [name for name in known if not name.endswith(("_low", "_high"))]
    names.sort(key=lambda name: name != main)
    table = [
        (name.removeprefix("test/"), [number(run.test.get(name)) for run in found])
        for name in names
    ]
    costs: dict[str, list[Any]] = {
        "time": [run.facts.get("cost", {}).get("seconds") for run in found],
        "weights trained": [run.facts.get("weights") for run in found],
        "steps": [run.facts.get("steps") for run in found],
    }
    ways = {"time": span, "weights trained": count, "steps": number}
    for name, values in costs.items():
        if any(value is not None for value in values):
            table.append((name, ["–" if v is None else ways[name](v) for v in values]))
    verdicts = [run.verdict.get("kind", "–") for run in found]
    return [("verdict", verdicts), *table]


def options(found: Sequence[Files]) -> list[tuple[str, list[str]]]:
    """Options in which the configs differ, with the value of each run."""
    flat = [dict(runs.flat(run.config)) for run in found]
    keys = dict.fromkeys(key for one in flat for key in one if not key.endswith(comparing.INTERNAL))
    differ = [key for key in keys if len({str(one.get(key)) for one in flat}) > 1]
    return [
        (key.replace(".init_args", ""), [number(one.get(key)) for one in flat]) for key in differ
    ]


def charts(found: Sequence[Files], names: Sequence[str]) -> list[Chart]:
    """The score of each run over its steps, on one scale."""
    lines = [run.logged.get(run.monitor, []) for run in found]
    values = [value for points in lines for _, value in points]
    if not values or len({run.monitor for run in found}) > 1:
        return []
    room = (max(values) - min(values) or 1.0) * 0.06
    ends = (min(values) - room, max(values) + room)
    most = float(max(step for points in lines for step, _ in points))
    drawn = [
        draw(f"{name}: {run.monitor}", [Line("", points)], x_most=most, y_ends=ends)
        for run, name, points in zip(found, names, lines, strict=True)
    ]
    return [chart for chart in drawn if chart is not None]
