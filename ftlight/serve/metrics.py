"""Counts of a server, shared by its processes, in the text form of Prometheus."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

CODES = (200, 400, 401, 403, 404, 405, 408, 413, 415, 499, 500, 503)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SHAPE = {  # cells of each count; a histogram has one more for what is above, and one for the sum
    "requests": len(CODES),
    "rows": 1,
    "waiting": 1,
    "batches": len(ROWS) + 2,
    "seconds": len(SECONDS) + 2,
}
START = {name: sum(list(SHAPE.values())[:i]) for i, name in enumerate(SHAPE)}
CELLS = sum(SHAPE.values())


class Counts(NamedTuple):
    """The counts of one run in one process; each cell has one thread that writes it.

    Attributes:
        cells: the cells, which several processes may see.
    """

    cells: memoryview[float]

    def add(self, name: str, amount: float = 1.0, cell: int = 0) -> None:
        """Adds to a cell of a count."""
        self.cells[START[name] + cell] += amount

    def waiting(self, rows: int) -> None:
        """Notes how many rows wait."""
        self.cells[START["waiting"]] = rows

    def observe(self, name: str, value: float, bounds: Sequence[float]) -> None:
        """Adds a value to a histogram."""
        cell = next((i for i, bound in enumerate(bounds) if value <= bound), len(bounds))
        self.add(name, cell=cell)
        self.add(name, value, len(bounds) + 1)

    def request(self, code: int, seconds: float) -> None:
        """Counts a request; a code that is not among those known counts as 500."""
        known = code if code in CODES else 500
        self.add("requests", cell=CODES.index(known))
        self.observe("seconds", seconds, SECONDS)

    def batch(self, rows: int) -> None:
        """Counts a batch of so many rows."""
        self.add("rows", rows)
        self.observe("batches", rows, ROWS)


class Board:
    """The counts of all runs in all processes, in memory that processes share if they are forked.

    Args:
        runs: names of the runs.
        processes: number of processes.
    """

    def __init__(self, runs: Sequence[str], processes: int = 1) -> None:
        self.names, self.processes = ["", *runs], processes  # the first is for none of them
        memory = mmap.mmap(-1, 8 * CELLS * len(self.names) * processes)
        self._cells = memoryview(memory).cast("d")

    def counts(self, run: str, process: int) -> Counts:
        """The counts of a run in a process; of requests for none of them if the name is empty."""
        start = CELLS * (process * len(self.names) + self.names.index(run))
        return Counts(self._cells[start : start + CELLS])

    def text(self) -> str:
        """All counts as Prometheus reads them."""
        totals = {}
        for name in self.names:
            parts = [self.counts(name, process).cells for process in range(self.processes)]
            totals[name] = [sum(cells) for cells in zip(*parts, strict=True)]
        return text(totals)


def text(totals: Mapping[str, Sequence[float]]) -> str:
    """Counts in the text form of Prometheus.

    Args:
        totals: the cells of each run by its name; those of requests for none under "".
    """
    runs = {name: cells for name, cells in totals.items() if name}
    by_code, errors = [], []
    for name, cells in totals.items():
        counts = list(zip(CODES, _of("requests", cells), strict=True))
        by_code += [(f'{_label(name)},code="{code}"', count) for code, count in counts if count]
        errors.append((_label(name), sum(count for code, count in counts if code != 200)))
    rows = [(_label(name), _of("rows", cells)[0]) for name, cells in runs.items()]
    waiting = [(_label(name), _of("waiting", cells)[0]) for name, cells in runs.items()]
    lines = _family("requests_total", "counter", "Requests by status.", by_code)
    lines += _family("errors_total", "counter", "Requests that were not answered.", errors)
    lines += _family("rows_total", "counter", "Rows that were answered.", rows)
    lines += _family("queue_rows", "gauge", "Rows that wait.", waiting)
    lines += _family("batch_rows", "histogram", "Rows that were answered together.")
    for name, cells in runs.items():
        lines += _histogram("batch_rows", name, _of("batches", cells), ROWS)
    lines += _family("request_seconds", "histogram", "Seconds from the head to the answer.")
    for name, cells in totals.items():
        lines += _histogram("request_seconds", name, _of("seconds", cells), SECONDS)
    return "\n".join([*lines, ""])


def _of(count: str, cells: Sequence[float]) -> Sequence[float]:
    return cells[START[count] : START[count] + SHAPE[count]]


def _family(name: str, kind: str, what: str, values: Iterable[tuple[str, float]] = ()) -> list[str]:
    """The lines of a metric with a value for each of some labels."""
    lines = [f"# HELP ftlight_{name} {what}", f"# TYPE ftlight_{name} {kind}"]
    return lines + [f"ftlight_{name}{{{labels}}} {value:.0f}" for labels, value in values]


def _label(name: str) -> str:
    r"""A run as a label.

    >>> _label('a"b')
    'model="a\\"b"'
    """
    escaped = name.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'model="{escaped}"'


def _histogram(
    metric: str, name: str, cells: Sequence[float], bounds: Sequence[float]
) -> list[str]:
    """The lines of a histogram, whose buckets hold all that is smaller."""
    lines, total = [], 0.0
    for bound, count in zip([*bounds, "+Inf"], cells, strict=False):
        total += count
        lines.append(f'ftlight_{metric}_bucket{{{_label(name)},le="{bound}"}} {total:.0f}')
    lines.append(f"ftlight_{metric}_sum{{{_label(name)}}} {cells[-1]:.6g}")
    return [*lines, f"ftlight_{metric}_count{{{_label(name)}}} {total:.0f}"]
