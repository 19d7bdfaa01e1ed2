"""Writes predictions as a table or JSON lines."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.run import workbook
from ftlight.utils.atomic import atomic_write, writing
from ftlight.utils.format import counted

log = logging.getLogger(__name__)
MARK = "\ufeff"  # tells Excel that a file is UTF-8
FIRST = 1 << 20  # most bytes of a line that tell what a file holds


class Dialect(NamedTuple):
    """How CSV is written.

    Attributes:
        delimiter: what divides fields.
        mark: whether it begins with a byte order mark.
        safe: whether texts that a spreadsheet would run as a formula get an apostrophe in front.
    """

    delimiter: str = ","
    mark: bool = False
    safe: bool = False


COMMAS = Dialect()
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
TABLES = (".csv", ".tsv", ".xlsx")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".xlsx")


class Table(NamedTuple):
    """Predictions as a table of another form than a row for each row of the input.

    Attributes:
        names: names of the columns.
        rows: the rows, by column.
    """

    names: list[str]
    rows: list[dict[str, Any]]


def write_predictions(
    path: Path,
    rows: Iterable[Mapping[str, Any]],
    decoded: Iterable[Mapping[str, Any]],
    spread: bool,
    own: str | Table | None = None,
    dialect: Dialect = COMMAS,
) -> int:
    """Writes the columns of the input with ``prediction``, ``score`` and other results beside them.

    A result named as a column of the input gets an underscore: ``score_``.

    Args:
        path: file to write: JSON lines if it ends in .jsonl, an array of a row a line if in .json,
            tabs between fields if in .tsv, a spreadsheet if in .xlsx, else CSV.
        rows: rows of the input.
        decoded: results of each row.
        spread: whether to write the probability of every label, too.
        own: what to write in place of that, if the task has a form of its own.
        dialect: how CSV is written.

    Returns:
        Number of rows.

    Raises:
        WriteError: the file cannot be written.
    """
    merged = [merge(row, results, spread) for row, results in zip(rows, decoded, strict=True)]
    names = list(dict.fromkeys(name for row in merged for name in row))
    table = own if isinstance(own, Table) else Table(names, merged)
    kind = path.suffix.lower()
    if kind == ".xlsx":
        _write_xlsx(path, table)
        return len(merged)
    if kind == ".tsv":
        dialect = dialect._replace(delimiter="\t")
    if isinstance(own, str):
        text = own
    elif kind in (".jsonl", ".json"):
        lines = [json.dumps(row, ensure_ascii=False) for row in merged]
        text = "[\n" + ",\n".join(lines) + "\n]\n" if kind == ".json" else "\n".join([*lines, ""])
    else:
        text = _csv(table, dialect)
    with writing(path), atomic_write(path) as file:
        file.write(text.encode())
    return len(merged)


def _write_xlsx(path: Path, table: Table) -> None:
    rows = [{name: _plain(value) for name, value in row.items()} for row in table.rows]
    with writing(path), atomic_write(path) as file:
        cut = workbook.write(file, table.names, rows)
    if cut:
        log.warning(
            "%s: %s cut after %s characters, the most that a cell holds; .csv holds all",
            *(path, counted(cut, "text", "are"), f"{workbook.LONGEST:,}"),
        )


def are_in(path: Path) -> bool:
    """Whether a file holds predictions of any run, or nothing, by its first lines.

    Of words and their tags nobody can tell whose they are.
    """
    if path.suffix.lower() == ".xlsx":
        return not path.stat().st_size or workbook.is_ours(path)
    with path.open("rb") as file:
        lines = [file.readline(FIRST).decode("utf-8-sig", "replace").strip() for _ in range(2)]
    if not any(lines):
        return True
    names = {name.strip('"') for name in re.split(r"[,;|\t]", lines[0])}
    for line in lines:  # of JSON lines the first is a row, of an array the second
        with contextlib.suppress(ValueError):
            row = json.loads(line.rstrip(","))
            names |= set(row) if isinstance(row, dict) else set()
    is_table = "score" in names and bool(names & {"prediction", "prediction_", "document"})
    return is_table or '"model_version": "ftlight"' in lines[1]


def write_left_out(path: Path, faults: Iterable[str]) -> Path | None:
    """Lists the rows that are not in a file of predictions beside it; removes an older list.

    Args:
        path: the file of predictions.
        faults: a line for each such row.

    Returns:
        The list; None if no row was left out.

    Raises:
        WriteError: it cannot be written.
    """
    listed, lines = path.with_suffix(".skipped.txt"), "".join(f"{fault}\n" for fault in faults)
    with writing(listed):
        listed.unlink(missing_ok=True)
        if not lines:
            return None
        with atomic_write(listed) as file:
            file.write(lines.encode())
    return listed


def merge(row: Mapping[str, Any], results: Mapping[str, Any], spread: bool) -> dict[str, Any]:
    """A row of the input, without bytes and internal columns, with its results.

    Args:
        row: row of the input.
        results: its results.
        spread: whether the probability of every label is among them, as ``p(LABEL)``.
    """

    def shown(name: str) -> bool:
        return not name.startswith("__") and not isinstance(row[name], bytes)

    columns = {name: row[name] for name in row if shown(name)}
    merged = dict(columns)
    for name, value in results.items():
        if name != "probabilities":
            merged[f"{name}_" if name in columns else name] = value
    if spread:
        for label, probability in results.get("probabilities", {}).items():
            merged[f"p({label})"] = probability
    return merged


def _csv(table: Table, dialect: Dialect) -> str:
    text = io.StringIO(MARK if dialect.mark else "")
    text.seek(0, io.SEEK_END)
    writer = csv.writer(text, lineterminator="\n", delimiter=dialect.delimiter)
    for row in [dict(zip(table.names, table.names, strict=True)), *table.rows]:
        cells = [_cell(row.get(name, "")) for name in table.names]
        writer.writerow(map(harmless, cells) if dialect.safe else cells)
    return text.getvalue()


def harmless(cell: Any) -> Any:
    """A cell with an apostrophe before a text that a spreadsheet would run, as OWASP advises.

    >>> harmless("=HYPERLINK(1)"), harmless("-0.5"), harmless(-0.5), harmless("a=b")
    ("'=HYPERLINK(1)", '-0.5', -0.5, 'a=b')
    """
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return cell
    return cell if NUMBER.fullmatch(cell) else f"'{cell}"


def _cell(value: Any) -> Any:
    """Formats a value for a CSV cell: floats with six digits, lists and mappings as JSON.

    Large floats have twelve: six of 1,000,001.5 would be 1e+06.
    """
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e5 else f"{value:.12g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _plain(value: Any) -> Any:
    """A value for a cell of a spreadsheet: as in CSV, but numbers stay numbers."""
    return float(_cell(value)) if isinstance(value, float) else _cell(value)
