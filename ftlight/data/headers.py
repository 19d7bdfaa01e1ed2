"""Whether the first row of a table names its columns."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ftlight.data.numerals import is_number

LONG = 20  # characters of a text
SHARE = 0.3  # of the usual length of a text, from which on a first cell may be one


def names_columns(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of some rows is a header; it is unless the rows say that it is none.

    It is none if one of its cells is a value of its column, such as a label, or if every cell looks
    as those below it do.

    Args:
        rows: cells of the first rows.

    >>> names_columns([["label", "text"], ["spam", "buy now"], ["ham", "see you"]])
    True
    >>> names_columns([["spam", "buy"], ["ham", "ok"], ["spam", "win"], ["ham", "x"], ["ham", "y"]])
    False
    """
    first, *rest = [[cell.strip("\ufeff ") for cell in row] for row in rows]
    below = [[row[i] for row in rest if i < len(row) and row[i]] for i in range(len(first))]
    columns = [(cell, values) for cell, values in zip(first, below, strict=True) if cell]
    if len(rest) < 2 or not columns:
        return True
    is_title = any(_is_title(cell, values) for cell, values in columns)
    for cell, values in columns:
        repeats = len(set(values)) * 2 <= len(values) or values.count(cell) > 1
        if cell in values and repeats and not (is_number(cell) and is_title):
            return False
    return not all(_is_like(cell, values) for cell, values in columns)


def _is_title(cell: str, values: Sequence[str]) -> bool:
    """Whether a cell is far shorter than the texts below it."""
    usual = median(map(len, values)) if values else 0
    return usual >= LONG and len(cell) < SHARE * usual


def _is_like(cell: str, values: Sequence[str]) -> bool:
    """Whether a cell is a number over numbers, or a text over texts."""
    if is_number(cell):
        return all(map(is_number, values))
    usual = median(map(len, values)) if values else 0
    return usual >= LONG and len(cell) >= SHARE * usual and len(cell.split()) > 3


def made_up(width: int) -> list[str]:
    """Names for the columns of a table without a header, by their numbers.

    >>> made_up(2)
    ['column_1', 'column_2']
    """
    return [f"column_{number}" for number in range(1, width + 1)]
