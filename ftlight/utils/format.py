"""Formats numbers: values, counts, learning rates, durations; and tables of text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence


def number(value: float | None) -> str:
    """Formats a value with four significant digits; n/a if it is None or not finite."""
    return "n/a" if value is None or not math.isfinite(value) else f"{value:.4g}"


def count(value: float) -> str:
    """Formats a count with three significant digits and a unit.

    >>> count(22713216), count(640)
    ('22.7 M', '640')
    """
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= limit:
            return f"{value / (limit if unit != ' k' else 1e3):.3g}{unit}"
    return f"{value:,.0f}"


def size(amount: float) -> str:
    """Formats a number of bytes.

    >>> size(1.93e9), size(361_332_202)
    ('1.9 GB', '361 MB')
    """
    return f"{amount / 1e9:.1f} GB" if amount >= 1e9 else f"{amount / 1e6:.0f} MB"


def counted(many: int, noun: str, verb: str = "") -> str:
    """A number of things, and what they do, in the singular or the plural.

    >>> counted(1, "row", "repeat"), counted(1200, "row"), counted(1, "file", "are")
    ('1 row repeats', '1,200 rows', '1 file is')
    """
    one = {"": "", "are": " is", "have": " has"}.get(verb, f" {verb}s")
    if many == 1:
        return f"1 {noun}{one}"
    return f"{many:,} {noun}s" + (f" {verb}" if verb else "")


def rate(value: float) -> str:
    """Formats a learning rate.

    >>> rate(1e-4), rate(0.01), rate(3.21e-05)
    ('1e-4', '0.01', '3.2e-5')
    """
    if value >= 1e-3:
        return f"{value:.2g}"
    return f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")


def clock(seconds: float) -> str:
    """Formats a duration as minutes and seconds, with hours if there are any.

    >>> clock(65), clock(3700)
    ('1:05', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def span(seconds: float) -> str:
    """Formats a duration with its units, the two largest of them.

    >>> span(8.4), span(90), span(600), span(5400)
    ('8s', '1m 30s', '10m', '1h 30m')
    """
    left, parts = round(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines in columns; a row may lack its last cells.

    >>> print(table([["name", "score"], ["a b c", "0.5"]]))
    name   score
    a b c  0.5
    """
    widths = [max(map(len, cells)) for cells in itertools.zip_longest(*rows, fillvalue="")]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=False)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
