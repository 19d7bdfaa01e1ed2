"""CSV and TSV as rows: which delimiter, and whether quotation marks enclose fields, is found."""

from __future__ import annotations

import codecs
import csv
import gzip
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from ftlight.data import headers
from ftlight.data.cells import LINE, Row
from ftlight.data.encoding import LONGEST, open_text, special_bytes
from ftlight.data.remarks import collected, remark
from ftlight.run.predictions import Dialect
from ftlight.utils.errors import UserError, join_limited
from ftlight.utils.format import counted

Quotes = Literal["auto", "csv", "none"]
"""Whether quotation marks enclose fields (csv) or are text (none); auto tells by the file."""
SAMPLE = 50  # lines that tell the delimiter
CUT = 2**22  # characters of a line of the sample
csv.field_size_limit(LONGEST)


def read(
    path: Path,
    encoding: str,
    quotes: Quotes = "auto",
    names: Sequence[str] = (),
    tabs: bool = False,
) -> Iterator[Row]:
    """Yields the rows of a CSV or TSV file; columns without a name are left out if several.

    Args:
        path: the file.
        encoding: its encoding.
        quotes: how quotation marks are read.
        names: names of the columns if the file has no header.
        tabs: whether only tabs divide fields.

    Raises:
        UserError: a row has another number of fields than the header, a quote is not closed, or a
            column occurs twice.
    """
    with open_text(path, encoding) as file:
        sample = _sample(file)
    above, skipped, delimiter = _layout(sample, tabs, titled=not names)
    if skipped > above:
        headers.say_titles(above + 1, skipped + 1, path.name)
    if quotes == "auto":
        why = ""
        if b'"' in special_bytes(path):
            why = _against_quotes(path, encoding, skipped, delimiter)
        if why:
            remark(
                f"{path.name}: quotation marks are read as text (data.quotes: none), which gives"
                f" every line the same fields; as quotes around fields {why}"
            )
        quotes = "none" if why else "csv"
    with open_text(path, encoding) as file:
        reader = _reader(itertools.islice(file, skipped, None), delimiter, quotes == "none")
        yield from as_rows(_numbered(reader, path, skipped), path, quotes, names)


def first_rows(path: Path, encoding: str, tabs: bool) -> list[list[str]]:
    """The fields of the first lines of a CSV or TSV file, its header among them if it has one."""
    with open_text(path, encoding) as file:
        sample = _sample(file)
    _, skipped, delimiter = _layout(sample, tabs, titled=True)
    rows = _reader(sample[skipped:], delimiter, plain=False, strict=False)
    return [row for row in rows if row]


def dialect(path: Path, encoding: str) -> Dialect:
    """How a CSV file is written; one in another encoding than UTF-8 counts as marked.

    Excel opens UTF-8 as such only with a mark, and had no need of one in its own encoding.
    """
    with collected(), open_text(path, encoding) as file:
        sample = _sample(file)
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as raw:
        marked = raw.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    return Dialect(
        _layout(sample, False, titled=True)[2], marked or codecs.lookup(encoding).name != "utf-8"
    )


def _sample(file: Iterable[str]) -> list[str]:
    """The first lines, cut if they are very long."""
    return [line[:CUT] for line in itertools.islice(file, SAMPLE)]


def _reader(lines: Iterable[str], delimiter: str, plain: bool, strict: bool = True) -> Any:
    quoting: Literal[0, 3] = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
    return csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=strict)


def _layout(sample: Sequence[str], tabs: bool, titled: bool) -> tuple[int, int, str]:
    """The line that says the delimiter, if there is one; lines before the table; the delimiter.

    Excel may say the delimiter in a line of its own, ``sep=;``. Otherwise it is what divides most
    of the first lines into equally many fields, at least two.

    Args:
        sample: the first lines.
        tabs: whether only tabs divide fields.
        titled: whether a title may stand above the header.
    """
    told = re.fullmatch(r'"?sep=(.)"?\s*', sample[0].lstrip("\ufeff")) if sample else None
    above = 1 if told else 0
    marks = told[1] if told else "\t" if tabs else ",;\t|"
    widths = {mark: _width(sample[above:], mark, titled) for mark in marks}
    delimiter = max(widths, key=lambda mark: widths[mark][0])
    return above, above + widths[delimiter][1], delimiter


def _width(sample: Sequence[str], delimiter: str, titled: bool) -> tuple[int, int]:
    """Fields of the header, if most of the first 20 lines have as many, else 1; lines above it."""
    for plain in (False, True):
        try:
            starts, rows = [], []
            reader, start = _reader(sample, delimiter, plain, strict=False), 0
            for row in reader:
                if row:
                    starts.append(start)
                    rows.append(row)
                start = reader.line_num
        except csv.Error:
            continue
        first = headers.titles(rows) if titled else 0
        widths = [len(row) for row in rows[first : first + 20]]
        if widths and widths[0] > 1 and widths.count(widths[0]) * 2 > len(widths):
            return widths[0], starts[first] if first else 0
    return 1, 0


def _against_quotes(path: Path, encoding: str, skipped: int, delimiter: str) -> str:
    """What goes wrong if quotation marks enclose fields; nothing if they can, or must.

    They must if some line, read plainly, has another number of fields than the header, or if they
    enclose the names of the columns.
    """
    with open_text(path, encoding) as file:
        lines = (line for line in itertools.islice(file, skipped, None) if line.strip("\r\n"))
        header = next(lines, "")
        marks, count = header.count(delimiter), 1
        if re.match(r'\ufeff?\s*"[^"]*"\s*$', header.split(delimiter)[0]):
            return ""
        for line in lines:
            if line.count(delimiter) != marks:
                return ""
            count += 1
    rows = 0
    with open_text(path, encoding) as file:
        try:
            for row in _reader(itertools.islice(file, skipped, None), delimiter, plain=False):
                rows += bool(row)
                if row and len(row) != marks + 1:
                    return "some lines have other numbers of fields"
        except csv.Error:
            return "some are not closed"
    lost = count - rows
    # in a single column any text of several lines may be a field
    return f"{lost:,} of {count - 1:,} lines run into others" if lost and marks else ""


def _numbered(rows: Any, path: Path, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """Yields the rows of a reader that are not blank, each with its first line."""
    line = skipped + 1
    try:
        for row in rows:
            if row:
                yield line, row
            line = skipped + rows.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}:{line}: a quote that opens here is not closed ({error}); double a quote"
            " inside quotes, or set data.quotes: none if quotation marks are text"
        ) from None


def as_rows(
    numbered: Iterable[tuple[int, list[str]]], path: Path, quotes: Quotes, names: Sequence[str]
) -> Iterator[Row]:
    """Yields the rows of a table after its header, unless that is given.

    A row of delimiters alone is left out, as an empty line is.

    Args:
        numbered: line and cells of each row.
        path: the file.
        quotes: how quotation marks were read, for errors.
        names: names of the columns if the table has no header.

    Raises:
        UserError: a row has another number of fields than the header, or a column occurs twice.
    """
    header, top = list(names), 0
    nameless: list[int] = []
    filled: list[int] = []  # lines that hold something in a column without a name
    blank: list[int] = []  # those of rows that hold nothing, as spreadsheets leave at their end
    for line, row in numbered:
        if not header:
            header, top = [name.strip("\ufeff").strip() for name in row], line
            nameless = _nameless(header, path, line)
            continue
        if len(row) > 1 and not any(map(str.strip, row)):
            blank.append(line)
            continue
        if len(row) != len(header):
            raise _ragged(row, header, f"{path}:{line}", quotes, top)
        top = 0
        made: Row = {**dict(zip(header, row, strict=True)), LINE: line}
        if nameless:
            del made[""]
            if any(row[i].strip() for i in nameless):
                filled.append(line)
        yield made
    if blank:
        rows_are = counted(len(blank), "row", "are")
        remark(f"{path.name}: {rows_are} blank and left out (first in line {blank[0]})")
    if filled:
        remark(
            f"{path.name}: {len(nameless)} columns without a name in the header are left out;"
            f" {counted(len(filled), 'line', 'hold')} something there (first {filled[0]})"
        )


def _nameless(header: Sequence[str], path: Path, line: int) -> list[int]:
    """Numbers of the columns without a name, to be left out; a single one is called so.

    Raises:
        UserError: a name occurs twice, or there is none.
    """
    twice = sorted(name for name, count in Counter(header).items() if name and count > 1)
    if twice:
        raise UserError(
            f"{path}:{line}: column {join_limited(twice)} occurs twice in the header; rename one"
        )
    empty = [i for i, name in enumerate(header) if not name]
    if len(empty) == len(header) > 1:
        raise UserError(f"{path}:{line}: the header names no column; write their names there")
    return empty if len(empty) > 1 else []


def _ragged(
    row: Sequence[str], header: Sequence[str], place: str, quotes: Quotes, top: int
) -> UserError:
    """The error of a row that has another number of fields than the header.

    Args:
        row: cells of the row.
        header: names of the columns.
        place: file and line of the row.
        quotes: how quotation marks were read.
        top: line of the header, if no other row has as many fields: it may be a title.
    """
    what = "too many" if len(row) > len(header) else "too few"
    way_out = "put quotes around a field that holds the delimiter"
    if quotes == "none":
        way_out = "data.quotes: csv reads quotation marks as quotes around fields"
    elif top and len(row) > len(header):
        way_out += f"; if line {top} is a title and no header, take it out"
    return UserError(
        f"{place}: {what} fields ({len(row)} where the header has {len(header)}); {way_out}"
    )
