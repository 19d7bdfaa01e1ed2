"""Which row of a table names its columns, if any does."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ftlight.data.numerals import is_number
from ftlight.data.remarks import remark

LONG = 20  # characters of a text
DEEPEST = 10  # rows above a header in which something else may stand
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


def titles(rows: Sequence[Sequence[str]]) -> int:
    """How many rows stand above the header, such as the title of a report.

    They hold one cell, or few of those of the table; the row below them must look as a header does.

    Args:
        rows: cells of the first rows.

    >>> titles([["Report", ""], ["id", "label"], ["1", "spam"], ["2", "ham"], ["3", "spam"]])
    1
    >>> titles([["text", ""], ["buy", "now"], ["see", "you"]])
    0
    """
    bare = [[cell.strip("\ufeff ") for cell in row] for row in rows]
    most = max((sum(map(bool, row)) for row in bare), default=0)
    for count, row in enumerate(bare[: DEEPEST + 1]):
        filled = [cell for cell in row if cell]
        if len(filled) > 1 and len(filled) * 3 > most:
            return count if count and _is_header(row, bare[count + 1 :]) else 0
        # a name beside an empty one is a header with an index; # begins what is no table
        if not filled or not filled[0][0].isalnum() or (len(row) == 2 and not row[0]):
            return 0
    return 0


def _is_header(row: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Whether the rows below a row show that it names their columns."""
    used = {i for other in rest for i, cell in enumerate(other) if cell}
    named = [cell for cell in row if cell]
    below = [[other[i] for other in rest if i < len(other) and other[i]] for i in range(len(row))]
    columns = [(cell, values) for cell, values in zip(row, below, strict=True) if cell]
    if len(set(named)) < len(named) or len(named) * 2 <= len(used) or any(map(is_number, named)):
        return False
    if any(cell in values for cell, values in columns):
        return False
    return any(
        _is_title(cell, values) or all(map(is_number, values)) or 2 * len({*values}) <= len(values)
        for cell, values in columns
        if values
    )


def say_titles(first: int, header: int, name: str) -> None:
    """Remarks on a title from the first line to that of the header, in the file of a name."""
    last = header - 1
    those = f"line {first} is" if first == last else f"lines {first} to {last} are"
    remark(f"{name}: {those} a title and left out; the header is line {header}")


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
