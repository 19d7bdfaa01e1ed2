"""Curves as the plain geometry of an SVG: paths, ticks, bands and names of lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ftlight.report.numbers import number

WIDTH, HEIGHT = 340.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 70.0, 18.0, 34.0
POINTS = 150  # of a line that are drawn
GAP = 12.0  # between names of lines


class Line(NamedTuple):
    """A line to draw.

    Attributes:
        name: what it is of.
        points: x and y.
        kind: 1 or 2: its colour, and whether it is dashed.
    """

    name: str
    points: Sequence[tuple[float, float]]
    kind: int = 1


class Mark(NamedTuple):
    """A place on an axis, or of a text.

    Attributes:
        x: to the right.
        y: downwards.
        text: what stands there.
        kind: as a line has it; 0 of none.
    """

    x: float
    y: float
    text: str
    kind: int = 0


class Chart(NamedTuple):
    """A drawing of lines, in units of an SVG.

    Attributes:
        title: what it shows.
        words: what it shows to who cannot see it.
        paths: kind and ``d`` of each line, or a point if it has one.
        dots: lines of a single point.
        x_ticks: places on the axis below.
        y_ticks: places on the axis at the left.
        names: names of the lines at their ends.
        bands: x, width and name of each stage.
        chosen: x of the step that was kept, if any.
        x_name: what the axis below counts.
    """

    title: str
    words: str
    paths: Sequence[tuple[int, str]]
    dots: Sequence[Mark]
    x_ticks: Sequence[Mark]
    y_ticks: Sequence[Mark]
    names: Sequence[Mark]
    bands: Sequence[tuple[float, float, str]]
    chosen: float | None
    x_name: str


def draw(
    title: str,
    lines: Sequence[Line],
    x_name: str = "step",
    bands: Sequence[tuple[float, str]] = (),
    chosen: float | None = None,
    x_most: float = 0.0,
    y_ends: tuple[float, float] | None = None,
) -> Chart | None:
    """Draws lines over a common axis; None if none has a finite point.

    Args:
        title: what they show.
        lines: the lines.
        x_name: what the axis below counts.
        bands: where each stage begins, and its name; none are drawn of one stage.
        chosen: the place that is marked.
        x_most: least end of the axis below.
        y_ends: ends of the axis at the left; by default those of the lines.
    """
    kept = [line._replace(points=_finite(line.points)) for line in lines]
    kept = [line for line in kept if line.points]
    if not kept:
        return None
    xs = [x for line in kept for x, _ in line.points]
    ys = [y for line in kept for _, y in line.points]
    first, last = min(0.0, *xs), max(x_most, *xs)
    low, high = y_ends or _padded(min(ys), max(ys))
    across = _Scale(first, last, LEFT, WIDTH - RIGHT)
    up = _Scale(low, high, HEIGHT - BOTTOM, TOP)
    places = [[(across(x), up(y)) for x, y in thinned(line.points)] for line in kept]
    ends = [
        Mark(WIDTH - RIGHT + 6, place[-1][1], line.name, line.kind)
        for line, place in zip(kept, places, strict=True)
    ]
    pairs = list(zip(kept, places, strict=True))
    return Chart(
        title,
        "; ".join(_words(line) for line in kept),
        [(line.kind, path(place)) for line, place in pairs if len(place) > 1],
        [Mark(*place[0], line.name, line.kind) for line, place in pairs if len(place) == 1],
        [Mark(across(x), HEIGHT - BOTTOM, _tick(x)) for x in ticks(first, last, 4)],
        [Mark(LEFT, up(y), _tick(y)) for y in ticks(low, high, 5)],
        apart(ends),
        _bands(bands, across, last),
        None if chosen is None else round(across(chosen), 1),
        x_name,
    )


class _Scale:
    """Values to places, linearly."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.start = low, start
        self.factor = (end - start) / ((high - low) or 1.0)

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) * self.factor, 1)


def path(places: Sequence[tuple[float, float]]) -> str:
    """The ``d`` of a line through places.

    >>> path([(1.0, 2.5), (3.0, 4.0)])
    'M1 2.5L3 4'
    """
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in places)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from one end of an axis to the other, some of 1, 2 or 5 times a power of ten.

    >>> ticks(0.0, 104.0, 4), ticks(0.02, 0.07, 3), ticks(1.0, 1.0, 4)
    ([0.0, 50.0, 100.0], [0.02, 0.04, 0.06], [1.0])
    """
    if high <= low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [float(f"{(first + i) * step:.12g}") for i in range(count)]


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Some of many points, evenly, the last one among them.

    >>> len(thinned([(float(i), 0.0) for i in range(10_000)]))
    151
    """
    if len(points) <= POINTS:
        return list(points)
    every = len(points) / POINTS
    return [*(points[int(i * every)] for i in range(POINTS)), points[-1]]


def apart(marks: Sequence[Mark]) -> list[Mark]:
    """Names of lines, moved so far apart that each can be read.

    >>> [mark.y for mark in apart([Mark(0, 50, "a"), Mark(0, 51, "b")])]
    [50, 62.0]
    """
    found: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: mark.y):
        least = found[-1].y + GAP if found else mark.y
        found.append(mark._replace(y=max(mark.y, least)))
    return found


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _padded(low: float, high: float) -> tuple[float, float]:
    """Ends of an axis around values; it begins at 0 if that is near."""
    room = (high - low or abs(high) or 1.0) * 0.06
    if 0 <= low < 0.4 * high:
        return 0.0, high + room
    return low - room, high + room


def _tick(value: float) -> str:
    """A tick's number, as short as can be.

    >>> _tick(1e-5), _tick(20_000.0), _tick(0.5)
    ('1e-5', '20k', '0.5')
    """
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    text = f"{value:g}"
    return (
        text.replace("e-0", "e-").replace("-", "\u2212") if value < 0 else text.replace("e-0", "e-")
    )


def _bands(
    bands: Sequence[tuple[float, str]], across: _Scale, last: float
) -> list[tuple[float, float, str]]:
    if len(bands) < 2:
        return []
    starts = [across(start) for start, _ in bands]
    ends = [*starts[1:], across(last)]
    named = zip(starts, ends, bands, strict=True)
    return [(start, round(end - start, 1), name) for start, end, (_, name) in named if end > start]


def _words(line: Line) -> str:
    first, last = line.points[0][1], line.points[-1][1]
    return f"{line.name}: from {number(first)} to {number(last)}"
