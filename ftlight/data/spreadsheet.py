"""Spreadsheets (.xlsx) as rows of text, as a CSV of their first sheet would have them."""

from __future__ import annotations

import datetime
import itertools
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ftlight.data import delimited, headers
from ftlight.data.cells import Row
from ftlight.data.remarks import remark
from ftlight.utils import archives
from ftlight.utils.errors import UserError, first_line

CELLS = 2**25  # of the rectangle around all cells, which the reader holds in memory
TOTAL = 2**32  # bytes unpacked
BLOCK = 2**20
PLACE = re.compile(rb"""[ \n\t]r=["']([A-Za-z]{0,3})([0-9]{1,7})["']""")  # such as r="B12"


def read(path: Path, names: Sequence[str] = ()) -> Iterator[Row]:
    """Yields the rows of the first sheet; rows without any cell are blank.

    Args:
        path: the file.
        names: names of the columns if the sheet has no header.

    Raises:
        UserError: python-calamine is missing, the file cannot be read, or a column occurs twice.
    """
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError:
        raise UserError(
            f"{path}: spreadsheets need python-calamine: pip install ftlight[documents]"
        ) from None
    if fault := _fault(path):
        raise UserError(f"{path}: {fault}")
    try:
        book = CalamineWorkbook.from_path(path)
        sheet = book.get_sheet_by_index(0)
        rows = sheet.to_python(skip_empty_area=False)
    except (CalamineError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a readable spreadsheet ({first_line(error)})") from None
    if len(book.sheet_names) > 1:
        count = len(book.sheet_names)
        remark(f"{path.name}: the first of {count} sheets is read, {book.sheet_names[0]!r}")
    texts = ([as_csv(cell) for cell in row] for row in rows)
    numbered: Iterator[tuple[int, list[str]]]
    numbered = ((line, row) for line, row in enumerate(texts, 1) if any(row))
    if not names:
        first = list(itertools.islice(numbered, delimited.SAMPLE))
        if count := headers.titles([row for _, row in first]):
            headers.say_titles(first[0][0], first[count][0], path.name)
        numbered = itertools.chain(first[count:], numbered)
    yield from delimited.as_rows(numbered, path, "csv", names)


def as_csv(value: Any) -> str:
    """A cell as Excel writes it into a CSV, but dates and times by ISO 8601.

    >>> [as_csv(v) for v in ("a", 1.0, 0.5, True, datetime.date(2024, 5, 31))]
    ['a', '1', '0.5', 'TRUE', '2024-05-31']
    >>> as_csv(datetime.timedelta(hours=36, minutes=5))
    '36:05:00'
    """
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.timedelta):
        minutes, seconds = divmod(int(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return str(value)


def _fault(path: Path) -> str | None:
    """What keeps a file from being read, such as cells far apart: all between would be held."""
    try:
        with zipfile.ZipFile(path) as book:
            entries = book.infolist()
            if fault := archives.fault(entries, path, archives.HELD):
                return fault
            if (total := sum(entry.file_size for entry in entries)) > TOTAL:
                return f"it is {total >> 30:,} GB unpacked; save it as CSV (UTF-8)"
            for entry in entries:
                if entry.filename.lower().endswith(".xml") and (fault := _far_apart(book, entry)):
                    return fault
    except archives.UNREADABLE as error:
        why = "; one with a password must be saved without" if _is_ole(path) else ""
        return f"not a readable spreadsheet ({first_line(error)}){why}"
    return None


def _is_ole(path: Path) -> bool:
    """Whether it is a container that Office writes for files with a password."""
    with path.open("rb") as file:
        return file.read(4) == b"\xd0\xcf\x11\xe0"


def _far_apart(book: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    """What is wrong if a sheet's cells span more than can be held."""
    rows, columns = 1, 1
    rest = b""
    with book.open(entry) as file:
        while block := file.read(BLOCK):
            block = rest + block
            for letters, digits in set(PLACE.findall(block)):
                rows = max(rows, int(digits))
                columns = max(columns, _number(letters))
            rest = block[-32:]
    if rows * columns > CELLS:
        return (
            f"a sheet has cells as far as row {rows:,} and column {columns:,}; take those out that"
            " lie beyond the table, or save it as CSV (UTF-8)"
        )
    return ""


def _number(letters: bytes) -> int:
    """The number of a column by its letters, from 1."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - 64
    return number
