"""Tables as spreadsheets (.xlsx) that Excel opens in any language, by XlsxWriter."""

from __future__ import annotations

import importlib.util
import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ftlight.utils.errors import UserError

ROWS, COLUMNS = 2**20 - 1, 2**14  # of a sheet, beside its header
LONGEST = 32_767  # characters of a cell
MARK = "predictions of ftlight"  # in the properties of the file
# What Excel shows as it is; leading zeros or many digits are of a name, such as a phone number.
PLAIN = re.compile(r"-?(0|[1-9]\d{0,10})(\.\d{0,5}[1-9])?")


def is_possible() -> bool:
    """Whether the package that writes spreadsheets is there."""
    try:
        return importlib.util.find_spec("xlsxwriter") is not None
    except ValueError:  # imported, in a way of its own
        return False


def need(place: str) -> None:
    """Refuses to go on without the package.

    Args:
        place: what asks for it, for the error.

    Raises:
        UserError: it is missing.
    """
    if not is_possible():
        raise UserError(f"{place}: spreadsheets need XlsxWriter: pip install ftlight[documents]")


def is_ours(path: Path) -> bool:
    """Whether a spreadsheet was written here."""
    try:
        with zipfile.ZipFile(path) as book:
            return MARK.encode() in book.read("docProps/core.xml")
    except (zipfile.BadZipFile, KeyError, OSError):
        return False


def write(file: IO[bytes], names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> int:
    """Writes a table: numbers as numbers, everything else as text and never as a formula.

    What does not fit into one sheet goes on in the next, under the same header.

    Args:
        file: the file to write, open.
        names: names of the columns.
        rows: the rows, by column.

    Returns:
        How many cells are cut, since a spreadsheet holds no longer ones.

    Raises:
        UserError: there are more columns than a sheet has, or the package is missing.
    """
    need(".xlsx")
    if len(names) > COLUMNS:
        raise UserError(f"{len(names):,} columns are more than a spreadsheet has; write .csv")
    from xlsxwriter import Workbook

    numeric = {name for name in names if _are_numbers([row.get(name) for row in rows])}
    cut = 0
    with Workbook(file, {"constant_memory": True}) as book:
        book.set_properties({"comments": MARK})
        for start in range(0, max(len(rows), 1), ROWS):
            sheet = book.add_worksheet()
            sheet.freeze_panes(1, 0)
            for column, name in enumerate(names):
                sheet.write_string(0, column, name[:LONGEST])
            for number, row in enumerate(rows[start : start + ROWS], 1):
                for column, name in enumerate(names):
                    cut += _write(sheet, number, column, row.get(name), name in numeric)
    return cut


def _write(sheet: Any, row: int, column: int, value: Any, numeric: bool) -> bool:
    """Writes a cell. Returns whether it is cut."""
    if isinstance(value, bool):
        sheet.write_boolean(row, column, value)
    elif isinstance(value, (int, float)) and math.isfinite(value) and abs(value) < 1e15:
        sheet.write_number(row, column, value)
    elif numeric and isinstance(value, str) and value:
        sheet.write_number(row, column, float(value))
    elif value not in (None, ""):
        text = str(value)
        sheet.write_string(row, column, text[:LONGEST])
        return len(text) > LONGEST
    return False


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether the texts of a column are numbers, as those of a spreadsheet that was read are."""
    texts = [value for value in values if isinstance(value, str) and value]
    return bool(texts) and all(PLAIN.fullmatch(text) for text in texts)
