"""Readers: one generator of rows per file format, strict, with the file and line in every error."""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ftlight.utils.errors import UserError, did_you_mean, join_limited

Row = dict[str, Any]
Unit = Literal["line", "paragraph"]
"""What is a document in plain text."""
LINE = "__line__"
"""Key under which a reader gives the line (or row) of the file."""
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".jp2", ".avif", ".heic", ".heif"),
)
"""Suffixes of image files; which of them can be decoded depends on the Pillow installed."""
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
csv.field_size_limit(2**31 - 1)  # the most that a C long holds everywhere


def suffix(path: Path) -> str:
    """The format's suffix, without ``.gz``."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def there(name: str, option: str = "") -> Path:
    """Checks that a file or folder is there.

    Args:
        name: the file or folder.
        option: the option that names it, for an error.

    Raises:
        UserError: it is missing; names the nearest in its folder.
    """
    path = Path(name).expanduser()
    if not path.exists():
        beside = (
            [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        )
        raise UserError(
            f"{f'{option}: ' if option else ''}{path}: no such file{did_you_mean(path.name, beside)}"
        )
    return path


def check(name: str, option: str = "", suffixes: Sequence[str] = SUFFIXES) -> Path:
    """Checks that a data file is there and of a format that can be read.

    Args:
        name: the file.
        option: the option that names it, for an error.
        suffixes: those of the formats that can be read.

    Raises:
        UserError: the file is missing (names the nearest in its folder), empty, a folder or of another format.
    """
    path, said = there(name, option), f"{option}: " if option else ""
    if path.is_dir():
        raise UserError(
            f"{said}{path} is a folder; name one of its files ({join_limited(p.name for p in path.iterdir())})"
        )
    if suffix(path) in (".xlsx", ".xls", ".ods"):
        raise UserError(f"{said}{path} is a spreadsheet; save it as CSV (UTF-8) and name that file")
    if suffix(path) not in suffixes or path.name.lower().endswith(".parquet.gz"):
        raise UserError(
            f"{said}{path}: format {suffix(path) or 'without suffix'} is not known; use {', '.join(suffixes)} (or .gz of one)"
        )
    if path.stat().st_size == 0:
        raise UserError(f"{said}{path} is empty")
    return path


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code(*things: Any) -> str:
    """Digest of the source files of functions: a cache must not outlive the code that filled it."""
    import inspect

    paths = sorted({inspect.getfile(thing) for thing in things})
    return hashlib.sha256("".join(sha256(Path(p)) for p in paths).encode()).hexdigest()


@contextlib.contextmanager
def _text(path: Path, encoding: str) -> Iterator[io.TextIOBase]:
    """Opens a text file, plain or .gz; faults of the encoding become one line."""
    with path.open("rb") as raw:
        start = raw.read(512)
    zipped = path.suffix.lower() == ".gz"
    if start[:4] == b"PK\x03\x04":
        raise UserError(f"{path} is a zip archive or spreadsheet, not text; save it as CSV (UTF-8)")
    wide = "16" in encoding or "32" in encoding
    if start[:2] in _BOMS and not wide:
        raise UserError(f"{path} is in UTF-16; set data.encoding: utf-16")
    if b"\0" in start and not wide and not zipped:
        raise UserError(
            f"{path} holds NUL bytes: it is binary, or in UTF-16 without a mark (then set data.encoding: utf-16-le)"
        )
    opener = gzip.open if zipped else open
    try:
        # utf-8-sig reads UTF-8 with and without a byte order mark
        name = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
        with opener(path, "rt", encoding=name, newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        byte, place = _first_bad_byte(path, encoding)
        raise UserError(
            f"{path}: byte {place} (0x{byte:02x}) is not {encoding}; set data.encoding, for example data.encoding: cp1252"
        ) from error
    except UnicodeError as error:  # of utf-16 and utf-32, where there is no mark
        raise UserError(
            f"{path} is not {encoding} ({error}); set data.encoding, for example data.encoding: utf-8"
        ) from None
    except LookupError:
        raise UserError(
            f"data.encoding: {encoding} is not an encoding that Python knows; for example utf-8, cp1252, utf-16"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: the gzip file is damaged ({error})") from None


def _first_bad_byte(path: Path, encoding: str) -> tuple[int, int]:
    """Value and position of the first byte that cannot be decoded (readers decode by blocks, so theirs is relative)."""
    data = gzip.open(path).read() if path.suffix.lower() == ".gz" else path.read_bytes()
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        return data[error.start], error.start
    return 0, 0


def _delimiter(file: io.TextIOBase, path: Path) -> str:
    """The delimiter that splits the first lines into the same number of fields, more than one."""
    if suffix(path) == ".tsv":
        return "\t"
    sample = "".join(line for line, _ in zip(file, range(50), strict=False))
    file.seek(0)
    best, most = ",", 1
    for candidate in ",;\t|":
        try:
            widths = [
                len(row) for row in csv.reader(io.StringIO(sample), delimiter=candidate) if row
            ][:20]
        except csv.Error:
            continue
        if widths and widths[0] > most and sum(w == widths[0] for w in widths) * 2 > len(widths):
            best, most = candidate, widths[0]
    return best


def _read_csv(path: Path, encoding: str) -> Iterator[Row]:
    with _text(path, encoding) as file:
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
                            f"{path}:{line}: {what} fields ({len(row)} where the header has {len(header)});"
                            " put quotes around a field that holds the delimiter"
                        )
                    yield {**dict(zip(header, row, strict=True)), LINE: line}
                line = rows.line_num + 1
        except csv.Error as error:
            raise UserError(
                f"{path}:{line}: a quote that opens here is not closed ({error}); double a quote inside quotes"
            ) from None


def _check_header(header: list[str], path: Path, line: int) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if "" in twice:
        raise UserError(
            f"{path}:{line}: {header.count('')} columns have no name in the header; name them or take them out"
        )
    if twice:
        raise UserError(
            f"{path}:{line}: column {join_limited(twice)} stands twice in the header; rename one"
        )


def _read_jsonl(path: Path, encoding: str) -> Iterator[Row]:
    with _text(path, encoding) as file:
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
                    f'{path}:{line}: expected an object such as {{"text": …}}, got {type(row).__name__}'
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
        raise UserError(
            f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})"
        ) from None


def read(path: Path, encoding: str = "utf-8") -> Iterator[Row]:
    """Yields the rows of a CSV, TSV, JSONL or Parquet file, whole, as the file has them.

    CSV values stay strings: "NA", "null" and "01" are what they are; only empty is missing.

    Yields:
        Column to value, with the line of the file (row number in Parquet) under :data:`LINE`.

    Raises:
        UserError: anything that cannot be read, with file and line.
    """
    kind = suffix(path)
    if kind in (".csv", ".tsv"):
        return _read_csv(path, encoding)
    return _read_parquet(path) if kind == ".parquet" else _read_jsonl(path, encoding)


def text_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yields number and text of each line of a text file, without its end.

    Raises:
        UserError: it is not text in this encoding.
    """
    with _text(path, encoding) as file:
        for number, line in enumerate(file, 1):
            yield number, line.rstrip("\r\n")


def documents(lines: Iterable[tuple[int, str]], unit: Unit) -> Iterator[tuple[int, str]]:
    r"""Documents of plain text with the line where each begins: a line each, or the lines between blank ones.

    >>> list(documents([(1, "a"), (2, "b"), (3, " "), (4, "c")], "paragraph"))
    [(1, 'a\nb'), (4, 'c')]
    """
    held: list[str] = []
    first = 0
    for number, line in lines:
        if held and (unit == "line" or not line.strip()):
            yield first, "\n".join(held)
            held = []
        if line.strip():
            first = first if held else number
            held.append(line)
    if held:
        yield first, "\n".join(held)


def need(row: Mapping[str, Any], columns: Iterable[str], path: str) -> None:
    """Checks that a row has the columns.

    Raises:
        UserError: one is missing; names those there are and the nearest.
    """
    have = [k for k in row if k != LINE]
    for column in columns:
        if column not in row:
            line = (
                f":{row[LINE]}" if suffix(Path(path)) in (".jsonl", ".json") and LINE in row else ""
            )  # each row may differ
            raise UserError(
                f"{path}{line}: no column {column}{did_you_mean(column, have)} (columns: {join_limited(have, 20)})"
            )


def as_text(value: Any, path: str, line: int, column: str) -> str:
    """A cell as text: numbers become their digits, missing (also nan, which Parquet has for it) becomes empty.

    Raises:
        UserError: the value is a list or an object.
    """
    if value is None or value != value:
        return ""
    if isinstance(value, (list, dict, bytes)):
        raise UserError(
            f"{path}:{line}: column {column} holds {type(value).__name__}, expected text"
        )
    return (
        value
        if isinstance(value, str)
        else json.dumps(value)
        if isinstance(value, bool)
        else str(value)
    )
