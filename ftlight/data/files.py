"""Data files as rows: one strict reader per format, with file and line in every error."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from ftlight.data import (
    delimited,
    document_text,
    documents,
    docx,
    encoding_guess,
    json_rows,
    pdf,
    pdf_child,
    spreadsheet,
)
from ftlight.data.cells import LINE as LINE
from ftlight.data.cells import Row as Row
from ftlight.data.cells import as_text as as_text
from ftlight.data.cells import cell as cell
from ftlight.data.cells import empty_cell as empty_cell
from ftlight.data.cells import filled as filled
from ftlight.data.cells import found_in_some as found_in_some
from ftlight.data.cells import joined as joined
from ftlight.data.cells import names as names
from ftlight.data.cells import need as need
from ftlight.data.cells import text_at as text_at
from ftlight.data.cells import with_nested
from ftlight.data.delimited import Quotes as Quotes
from ftlight.data.encoding import open_text
from ftlight.data.folders import walk
from ftlight.utils import archives
from ftlight.utils.errors import UserError, did_you_mean, first_line, join_limited
from ftlight.utils.paths import place as place
from ftlight.utils.paths import places as places
from ftlight.utils.paths import user_path

Unit = Literal["line", "paragraph"]
"""What counts as one document in plain text."""
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx")
ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar")
PACKED = (".parquet.gz", ".xlsx.gz")  # whose reader needs the file itself
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".heic", ".heif"),
    *(".jfif", ".jpe", ".jif", ".pjpeg"),
)
"""Suffixes of image files; which of them can be decoded depends on the Pillow installed."""


def suffix(path: Path) -> str:
    """The suffix of the format, lower case, without ``.gz``."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def there(name: str, option: str = "") -> Path:
    """Checks that a file or folder exists.

    Args:
        name: the file or folder.
        option: the option that names it, for the error.

    Raises:
        UserError: it is missing (names the nearest in its folder), or cannot be looked for.
    """
    path = user_path(name, option)
    if path.exists():
        return path
    beside: list[str] = []
    if path.parent.is_dir():
        beside = [p.name for p in path.parent.iterdir()]
    what = "no such file" if path.suffix else "no such file or folder"
    raise UserError(f"{_before(option)}{path}: {what}{_nearest(path.name, beside)}")


def _nearest(name: str, beside: Sequence[str]) -> str:
    """``did_you_mean`` of file names, which a suffix alone does not make alike.

    >>> _nearest("lettres", ["letters", "lettres.py.txt"]), _nearest("a.csv", ["b.csv"])
    ('; did you mean "letters"?', '')
    """
    alike = [n for n in beside if did_you_mean(Path(name).stem, [Path(n).stem]) and n[0] != "."]
    same_kind = [n for n in alike if suffix(Path(n)) == suffix(Path(name))]
    nearest = difflib.get_close_matches(name, same_kind or alike, n=1, cutoff=0.0)
    return f'; did you mean "{nearest[0]}"?' if nearest else ""


def check(name: str, option: str = "", suffixes: Sequence[str] = SUFFIXES) -> Path:
    """Checks that a data file, document or folder of documents exists and can be read by format.

    Args:
        name: the file.
        option: the option that names it, for the error.
        suffixes: suffixes of the formats that can be read.

    Raises:
        UserError: it is missing (names the nearest in its folder), empty, a folder or of another
            format, or a folder without documents.
    """
    path = there(name, option)
    kind = suffix(path)
    fault = ""
    if path.is_dir():
        if documents.names(path)[0]:
            return path
        names = join_limited(p.name for p in path.iterdir())
        known = ", ".join(documents.SUFFIXES)
        fault = f" is a folder; name one of its files ({names}), or a folder of documents ({known})"
    elif documents.is_place(path):
        fault = "" if path.stat().st_size else " is empty"
    elif kind in (".xls", ".xlsb", ".ods"):
        fault = " is a spreadsheet of another kind; save it as .xlsx or CSV and name that file"
    elif kind in ARCHIVES and kind not in suffixes:
        fault = " is an archive; unpack it, and name a file of it or its folder"
    elif kind not in suffixes or path.name.lower().endswith(PACKED):
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


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number, size, most = 0, 0, archives.most(path)
            for batch in file.iter_batches(1024):
                size += max(batch.nbytes, batch.num_rows * batch.num_columns)
                if size > most:
                    raise UserError(f"{path}: {archives.BOMB}")
                for row in _rows(batch, path, number):
                    number += 1
                    yield {**row, LINE: number}
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({first_line(error)})") from None


def _rows(batch: Any, path: Path, before: int) -> list[Row]:
    """The rows of a batch of Parquet; ``before`` is the number of those in earlier ones.

    Raises:
        UserError: a cell has no value in Python, such as text that is not UTF-8.
    """
    try:
        rows: list[Row] = batch.to_pylist()
        return rows
    except (ValueError, OverflowError):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for number, item in enumerate(column, before + 1):
                try:
                    item.as_py()
                except UnicodeDecodeError as error:
                    raise UserError(
                        f"{path}:{number}: column {name} holds bytes that are not UTF-8"
                        f" (0x{error.object[error.start]:02x} at byte {error.start});"
                        " write the file anew from text"
                    ) from None
                except (ValueError, OverflowError) as error:
                    raise UserError(
                        f"{path}:{number}: column {name}: {first_line(error)}"
                    ) from None
        raise


def read(
    path: Path,
    encoding: str = "utf-8",
    quotes: Quotes = "auto",
    columns: Sequence[str] = (),
    header: Sequence[str] = (),
) -> Iterator[Row]:
    """Yields the rows of a CSV, TSV, JSONL, JSON, Parquet or .xlsx file, or of a folder.

    CSV values stay strings, also "NA", "null" and "01"; only an empty cell is missing.

    Args:
        path: the file, document or folder of documents (see :mod:`ftlight.data.documents`).
        encoding: encoding of a text file.
        quotes: how quotation marks are read in CSV and TSV.
        columns: columns that are wanted; dotted ones, such as translation.en, are taken out of
            objects.
        header: names of the columns of a CSV or TSV file without a header.

    Yields:
        Column to value, and under :data:`LINE` the line in the file (in Parquet the row's number,
        in a folder the document's path).

    Raises:
        UserError: something cannot be read; names file and line.
    """
    kind = suffix(path)
    if documents.is_place(path):
        rows = documents.read(path, encoding)
    elif kind in (".csv", ".tsv"):
        rows = delimited.read(path, encoding, quotes, header, tabs=kind == ".tsv")
    elif kind == ".xlsx":
        rows = spreadsheet.read(path, header)
    elif kind == ".parquet":
        rows = _read_parquet(path)
    else:
        rows = json_rows.read(path, encoding, columns)
    return with_nested(rows, columns)


def code_of_readers() -> str:
    """Digest of the code that reads files."""
    own = (
        documents.read,
        encoding_guess.guess,
        document_text.read,
        docx.text,
        pdf.Reader,
        pdf_child.main,
        walk,
    )
    return code(read, delimited.read, json_rows.read, spreadsheet.read, open_text, cell, *own)


def text_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yields number and text of each line of a text file, without the line break.

    Raises:
        UserError: it is not text in this encoding.
    """
    with open_text(path, encoding) as file:
        for number, line in enumerate(file, 1):
            yield number, line.rstrip("\r\n")


def divided(lines: Iterable[tuple[int, str]], unit: Unit) -> Iterator[tuple[int, str]]:
    r"""Yields the documents of plain text, each with its first line's number.

    A document is a line, or a paragraph: the lines between blank ones.

    >>> list(divided([(1, "a"), (2, "b"), (3, " "), (4, "c")], "paragraph"))
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
