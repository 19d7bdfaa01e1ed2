"""Rows as read, and their cells as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftlight.utils.errors import UserError, unknown
from ftlight.utils.paths import place

Row = dict[str, Any]
LINE = "__line__"
"""Key under which every row holds its line in the file (in Parquet its number, of a folder of
documents the path of its file)."""


def with_nested(rows: Iterator[Row], columns: Sequence[str]) -> Iterator[Row]:
    """Rows with their dotted columns: fields of objects, or items of lists by number.

    >>> rows = iter([{"translation": {"en": "cat"}}])
    >>> next(with_nested(rows, ["translation.en"]))["translation.en"]
    'cat'
    """
    dotted = [column for column in columns if "." in column]
    return ({**row, **_nested(row, dotted)} for row in rows) if dotted else rows


def _nested(row: Mapping[str, Any], columns: Iterable[str]) -> Row:
    found: Row = {}
    for column in columns:
        if column in row:
            continue
        value: Any = row
        for part in column.split("."):
            if isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            elif isinstance(value, Mapping) and part in value:
                value = value[part]
            else:
                break
        else:
            found[column] = value
    return found


def need(row: Mapping[str, Any], columns: Iterable[str], path: str) -> None:
    """Checks that a row has the columns.

    Raises:
        UserError: one is missing; names those there are and the nearest.
    """
    for column in columns:
        if column not in row:
            # only in JSON lines may each row have other columns
            own_line = Path(path.removesuffix(".gz")).suffix.lower() in (".jsonl", ".json")
            where = place(path, row[LINE]) if own_line and LINE in row else path
            known = names(row)
            root = column.partition(".")[0]
            if root != column and isinstance(row.get(root), Mapping):
                known = [f"{root}.{field}" for field in row[root]]
            raise UserError(unknown(f"{where}: no column", column, known, "columns"))


def found_in_some(rows: Iterable[Row], wanted: Mapping[str, str], path: str) -> Iterator[Row]:
    """Yields rows, and refuses a column that none of them has and the user named.

    Args:
        rows: the rows; columns under ``data``, as Label Studio has them, count too.
        wanted: columns that only some rows need, by the option that names each.
        path: file of the rows.

    Raises:
        UserError: no row has one of the columns; names the nearest.
    """
    missing = dict(wanted)
    known: dict[str, None] = {}
    for row in rows:
        if missing:
            inside = row.get("data")
            columns = [*names(row), *(inside if isinstance(inside, Mapping) else ())]
            known.update(dict.fromkeys(columns))
            missing = {o: column for o, column in missing.items() if column not in columns}
        yield row
    for option, column in missing.items():
        if known:
            what = unknown(f"{path}: no row has a column", column, known, "columns")
            raise UserError(f"{what}; name one of them in data.{option}, or leave that out")


def names(row: Iterable[str]) -> list[str]:
    """Names of the columns of a row."""
    return [column for column in row if column != LINE]


def as_text(value: Any, path: str, line: int | str, column: str) -> str:
    """A value as text: numbers as written, missing ones (also NaN, Parquet's word for it) empty.

    Raises:
        UserError: the value is a list or an object.
    """
    return text_at(value, place(path, line), column)


def text_at(value: Any, where: str, column: str) -> str:
    """A value as text, see :func:`as_text`; ``where`` is its file and line."""
    if value is None or value != value:
        return ""
    if isinstance(value, (list, dict, bytes)):
        raise UserError(f"{where}: column {column} holds {type(value).__name__}, expected text")
    return json.dumps(value) if isinstance(value, bool) else str(value)


def cell(row: Row, column: str, path: str) -> str:
    """A cell of a row as text, see :func:`as_text`."""
    return as_text(row[column], path, row[LINE], column)


def filled(row: Row, column: str, path: str) -> str:
    """A cell that must not be empty, as text.

    Raises:
        UserError: it holds nothing but spaces, or a list or an object.
    """
    text = cell(row, column, path)
    if not text.strip():
        raise empty_cell(column, place(path, row[LINE]))
    return text


def empty_cell(column: str, where: str) -> UserError:
    """The error of a cell that must hold something; ``where`` is its file and line."""
    return UserError(f"{where}: column {column} is empty; fill it in or take the row out")


def joined(row: Row, columns: Iterable[str], path: str) -> str:
    """Several cells as one text, a line each."""
    return "\n".join(cell(row, column, path) for column in columns)
