"""Data files as rows: one strict reader per format, with file and line in every error."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ftlight.data.encoding import open_text
from ftlight.utils.errors import UserError, did_you_mean, first_line, join_limited, unknown

Row = dict[str, Any]
Unit = Literal["line", "paragraph"]
"""What counts as one document in plain text."""
LINE = "__line__"
"""Key under which every row holds its line in the file (in Parquet its number)."""
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".jp2", ".avif", ".heic", ".heif"),
)
"""Suffixes of image files; which of them can be decoded depends on the Pillow installed."""
csv.field_size_limit(2**31 - 1)  # the most that a C long holds everywhere


def suffix(path: Path) -> str:
    """The suffix of the format, lower case, without ``.gz``."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def there(name: str, option: str = "") -> Path:
    """Checks that a file or folder exists.

    Args:
        name: the file or folder.
        option: the option that names it, for the error.

    Raises:
        UserError: it is missing; names the nearest in its folder.
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    beside: list[str] = []
    if path.parent.is_dir():
        beside = [p.name for p in path.parent.iterdir() if p.is_file()]
    raise UserError(f"{_before(option)}{path}: no such file{did_you_mean(path.name, beside)}")


def check(name: str, option: str = "", suffixes: Sequence[str] = SUFFIXES) -> Path:
    """Checks that a data file exists and is of a format that can be read.

    Args:
        name: the file.
        option: the option that names it, for the error.
        suffixes: suffixes of the formats that can be read.

    Raises:
        UserError: it is missing (names the nearest in its folder), empty, a folder or of another
            format.
    """
    path = there(name, option)
    kind = suffix(path)
    fault = ""
    if path.is_dir():
        names = join_limited(p.name for p in path.iterdir())
        fault = f" is a folder; name one of its files ({names})"
    elif kind in (".xlsx", ".xls", ".ods"):
        fault = " is a spreadsheet; save it as CSV (UTF-8) and name that file"
    elif kind not in suffixes or path.name.lower().endswith(".parquet.gz"):
        fault = (
            f": format {kind or 'without suffix'} is not known;"
            f" use {', '.join(suffixes)} (or .gz of one)"
        )
    elif path.stat().st_size == 0:
        fault = " is empty"
    if fault:
        raise UserError(f"{_before(option)}{path}{fault}")
    return path


def _before(option: str) -> str:
    return f"{option}: " if option else ""


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code(*things: Any) -> str:
    """Digest of the source files of functions: a cache must not outlive the code that filled it."""
    import inspect

    paths = sorted({inspect.getfile(thing) for thing in things})
    return hashlib.sha256("".join(sha256(Path(p)) for p in paths).encode()).hexdigest()


def package_code(function: Any) -> str:
    """Digest of the source files of a function's package, for a reader that lies in several.

    A function of a module that is in no package: of its file alone.
    """
    import inspect

    file = Path(inspect.getfile(function))
    within = inspect.getmodule(function)
    paths = sorted(file.parent.glob("*.py")) if within and within.__package__ else [file]
    return hashlib.sha256("".join(map(sha256, paths)).encode()).hexdigest()


def _delimiter(file: io.TextIOBase, path: Path) -> str:
    """The delimiter that splits most of the first lines into equally many fields, at least two."""
    if suffix(path) == ".tsv":
        return "\t"
    sample = "".join(line for line, _ in zip(file, range(50), strict=False))
    file.seek(0)
    best, most = ",", 1
    for candidate in ",;\t|":
        try:
            rows = [row for row in csv.reader(io.StringIO(sample), delimiter=candidate) if row]
        except csv.Error:
            continue
        widths = [len(row) for row in rows[:20]]
        if widths and widths[0] > most and widths.count(widths[0]) * 2 > len(widths):
            best, most = candidate, widths[0]
    return best


def _read_csv(path: Path, encoding: str) -> Iterator[Row]:
    with open_text(path, encoding) as file:
        rows = csv.reader(file, delimiter=_delimiter(file, path), strict=True)
        header: list[str] | None = None
        line = 1
        try:
            for row in rows:
                if header is None and row:
                    header = [name.strip() for name in row]
                    _check_header(header, path, line)
                elif row and header is not None:
                    if len(row) != len(header):
                        what = "too many" if len(row) > len(header) else "too few"
                        raise UserError(
                            f"{path}:{line}: {what} fields ({len(row)} where the header has"
                            f" {len(header)}); put quotes around a field that holds the delimiter"
                        )
                    yield {**dict(zip(header, row, strict=True)), LINE: line}
                line = rows.line_num + 1
        except csv.Error as error:
            raise UserError(
                f"{path}:{line}: a quote that opens here is not closed ({error});"
                " double a quote inside quotes"
            ) from None


def _check_header(header: list[str], path: Path, line: int) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if "" in twice:
        raise UserError(
            f"{path}:{line}: {header.count('')} columns have no name in the header;"
            " name them or take them out"
        )
    if twice:
        raise UserError(
            f"{path}:{line}: column {join_limited(twice)} occurs twice in the header; rename one"
        )


def _read_jsonl(path: Path, encoding: str) -> Iterator[Row]:
    with open_text(path, encoding) as file:
        if suffix(path) == ".json" and file.read(64).lstrip()[:1] == "[":
            raise UserError(f"{path} is one JSON array; write one object per line (.jsonl)")
        file.seek(0)
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{path}:{line}: not valid JSON: {error.msg} at column {error.colno}"
                ) from None
            if not isinstance(row, dict):
                raise UserError(
                    f'{path}:{line}: expected an object such as {{"text": …}},'
                    f" got {type(row).__name__}"
                )
            yield {**row, LINE: line}


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(1024):
                for row in batch.to_pylist():
                    number += 1
                    yield {**row, LINE: number}
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({first_line(error)})") from None


def read(path: Path, encoding: str = "utf-8") -> Iterator[Row]:
    """Yields the rows of a CSV, TSV, JSONL or Parquet file as they are.

    CSV values stay strings, also "NA", "null" and "01"; only an empty cell is missing.

    Yields:
        Column to value, and under :data:`LINE` the line in the file (in Parquet the row's number).

    Raises:
        UserError: something cannot be read; names file and line.
    """
    kind = suffix(path)
    if kind in (".csv", ".tsv"):
        return _read_csv(path, encoding)
    return _read_parquet(path) if kind == ".parquet" else _read_jsonl(path, encoding)


def text_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yields number and text of each line of a text file, without the line break.

    Raises:
        UserError: it is not text in this encoding.
    """
    with open_text(path, encoding) as file:
        for number, line in enumerate(file, 1):
            yield number, line.rstrip("\r\n")


def documents(lines: Iterable[tuple[int, str]], unit: Unit) -> Iterator[tuple[int, str]]:
    r"""Yields the documents of plain text, each with its first line's number.

    A document is a line, or a paragraph: the lines between blank ones.

    >>> list(documents([(1, "a"), (2, "b"), (3, " "), (4, "c")], "paragraph"))
    [(1, 'a\nb'), (4, 'c')]
    """
    document: list[str] = []
    first = 0
    for number, line in lines:
        if document and (unit == "line" or not line.strip()):
            yield first, "\n".join(document)
            document = []
        if line.strip():
            first = first if document else number
            document.append(line)
    if document:
        yield first, "\n".join(document)


def need(row: Mapping[str, Any], columns: Iterable[str], path: str) -> None:
    """Checks that a row has the columns.

    Raises:
        UserError: one is missing; names those there are and the nearest.
    """
    for column in columns:
        if column not in row:
            # only in JSON lines may each row have other columns
            own_line = suffix(Path(path)) in (".jsonl", ".json") and LINE in row
            place = f"{path}:{row[LINE]}" if own_line else path
            raise UserError(unknown(f"{place}: no column", column, names(row), "columns"))


def names(row: Iterable[str]) -> list[str]:
    """Names of the columns of a row."""
    return [column for column in row if column != LINE]


def as_text(value: Any, path: str, line: int, column: str) -> str:
    """A value as text: numbers as written, missing ones (also NaN, Parquet's word for it) empty.

    Raises:
        UserError: the value is a list or an object.
    """
    if value is None or value != value:
        return ""
    if isinstance(value, (list, dict, bytes)):
        raise UserError(
            f"{path}:{line}: column {column} holds {type(value).__name__}, expected text"
        )
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
        raise empty_cell(column, f"{path}:{row[LINE]}")
    return text


def empty_cell(column: str, place: str) -> UserError:
    """The error of a cell that must hold something; ``place`` is its file and line."""
    return UserError(f"{place}: column {column} is empty; fill it in or take the row out")


def joined(row: Row, columns: Iterable[str], path: str) -> str:
    """Several cells as one text, a line each."""
    return "\n".join(cell(row, column, path) for column in columns)
