"""The sections of a test: metrics, classes, confusions, groups."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.metrics.statistics import wilson
from ftlight.report.numbers import Interval, interval, number, p_value, percent, placed
from ftlight.report.reading import Files

MATRIX = 20  # classes of which a matrix is shown
PAIRS = 40  # confusions that are listed
SHADES = 6  # of a cell


class Metric(NamedTuple):
    """A metric of the test: name, value and interval."""

    name: str
    value: str
    interval: str


class ClassRow(NamedTuple):
    """A class of the test.

    Attributes:
        name: its label.
        support: rows that have it.
        f1: its F1 as a number, and as the length of a bar from 0 to 100.
        bar: that length.
        precision: how many of its predictions are right.
        recall: how many of its rows are found, with the interval.
    """

    name: str
    support: str
    f1: str
    bar: float
    precision: str
    recall: Interval


class Pair(NamedTuple):
    """A label taken for another: number of rows, and their share of the label's."""

    label: str
    taken_for: str
    rows: int
    share: str


class Matrix(NamedTuple):
    """Rows by label and prediction.

    Attributes:
        labels: the labels.
        rows: for each label the cells: number of rows, and shade from 0 to 6.
    """

    labels: Sequence[str]
    rows: Sequence[Sequence[tuple[int, int]]]


class Classes(NamedTuple):
    """The classes of a test: those of least F1 first, and what is taken for what."""

    rows: Sequence[ClassRow]
    matrix: Matrix | None
    pairs: Sequence[Pair]
    more: int


class GroupRow(NamedTuple):
    """A group of rows: name, rows, score, p-value against all others."""

    name: str
    rows: str
    score: Interval
    p: str


class GroupTable(NamedTuple):
    """The groups of a column.

    Attributes:
        column: the column.
        metric: the score.
        rows: the groups, the worst first.
        apart: how far apart they are, in words.
    """

    column: str
    metric: str
    rows: Sequence[GroupRow]
    apart: str


def metrics(run: Files) -> list[Metric]:
    """The metrics of the test, the one that chose the weights first."""
    names = [name for name, v in run.test.items() if name.startswith("test/") and _is_number(v)]
    ends = {f"{name}_{end}" for name in names for end in ("low", "high")}
    main = f"test/{run.monitor.removeprefix('val/')}"
    names = sorted((n for n in names if n not in ends), key=lambda name: name != main)
    found = []
    for name in names:
        low, high = (run.test.get(f"{name}_{end}") for end in ("low", "high"))
        found.append(
            Metric(name.removeprefix("test/"), number(run.test[name]), interval(low, high))
        )
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def classes(run: Files) -> Classes | None:
    """The classes of a test; None if it has none."""
    found = run.test.get("classes", {})
    cells = [cell for cell in run.test.get("confusion", []) if _is_cell(cell)]
    if not found and not cells:
        return None
    rows = sorted(found.items(), key=lambda item: item[1].get("f1") or 0.0)
    labels = list(dict.fromkeys([*found, *(str(cell[0]) for cell in cells)]))
    wrong = [cell for cell in cells if cell[0] != cell[1]]
    is_small = 0 < len(labels) <= MATRIX and bool(cells)
    pairs = [] if is_small else sorted(wrong, key=lambda cell: -cell[2])
    totals = _totals(cells)
    return Classes(
        [_class(name, values) for name, values in rows],
        matrix(labels, cells) if is_small else None,
        [Pair(a, b, n, percent(n / totals[a])) for a, b, n in pairs[:PAIRS]],
        max(0, len(pairs) - PAIRS),
    )


def _is_cell(cell: Sequence[Any]) -> bool:
    return len(cell) == 3 and isinstance(cell[2], int) and cell[2] > 0


def _totals(cells: Sequence[Sequence[Any]]) -> Mapping[str, int]:
    totals: dict[str, int] = defaultdict(int)
    for label, _, count in cells:
        totals[label] += count
    return totals


def _class(name: str, values: Mapping[str, float | None]) -> ClassRow:
    f1, recall, support = (values.get(key) for key in ("f1", "recall", "support"))
    ends: tuple[float | None, float | None] = (None, None)
    if recall is not None and support:
        ends = wilson(recall, support)
    return ClassRow(
        name,
        number(None if support is None else int(support)),
        number(f1),
        round(100 * min(1.0, max(0.0, f1 or 0.0)), 1),
        number(values.get("precision")),
        placed(recall, *ends, (0.0, 1.0)),
    )


def matrix(labels: Sequence[str], cells: Sequence[Sequence[Any]]) -> Matrix:
    """Rows by label and prediction; each cell is shaded by its share of the label's rows.

    >>> matrix(["a", "b"], [["a", "a", 3], ["a", "b", 1], ["b", "b", 2]]).rows
    [[(3, 5), (1, 2)], [(0, 0), (2, 6)]]
    """
    counts = {(a, b): count for a, b, count in cells}
    totals = _totals(cells)

    def cell(label: str, other: str) -> tuple[int, int]:
        count = counts.get((label, other), 0)
        return count, math.ceil(SHADES * count / totals[label]) if count else 0

    return Matrix(labels, [[cell(label, other) for other in labels] for label in labels])


def groups(run: Files) -> list[GroupTable]:
    """The groups of rows, by column."""
    return [_groups(column, about) for column, about in run.test.get("groups", {}).items()]


def _groups(column: str, about: Mapping[str, Any]) -> GroupTable:
    metric = about.get("metric", "")
    found = about.get("by_group", {})
    ends = [g[k] for g in found.values() for k in ("low", "high", metric) if _is_number(g.get(k))]
    scale = (min(ends, default=0.0), max(ends, default=1.0))
    order = sorted(found.items(), key=lambda item: item[1].get(metric) or 0.0)
    rows = [
        GroupRow(
            name,
            number(group.get("rows")),
            placed(group.get(metric), group.get("low"), group.get("high"), scale),
            p_value(group.get("p")),
        )
        for name, group in order
    ]
    apart = ""
    if about.get("difference") is not None:
        apart = f"difference {number(about['difference'])}, ratio {number(about.get('ratio'))}"
    return GroupTable(column, metric, rows, apart)


def swaps(run: Files) -> str:
    """How many answers change with words exchanged, in words; empty if none were."""
    found = run.test.get("swaps") or {}
    if not found.get("rows") or "changed" not in found:
        return ""
    share = percent(found["changed"] / found["rows"])
    return (
        f"{found['changed']:,} of {found['rows']:,} rows change their answer with words exchanged"
        f" ({share})."
    )
