"""JSON as rows: an object per line, or one array of them, over however many lines."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftlight.data.cells import LINE, Row
from ftlight.data.encoding import open_text
from ftlight.data.remarks import remark
from ftlight.utils import archives
from ftlight.utils.errors import UserError, shortened
from ftlight.utils.format import counted
from ftlight.utils.json_file import DEEPEST, is_deeper
from ftlight.utils.paths import ROW, place, places


class _Decoder(json.JSONDecoder):
    """A decoder of which every fault is a JSONDecodeError."""

    def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
        """Decodes the value that begins at a place. Returns it and where it ends."""
        try:
            value, end = super().raw_decode(s, idx)
        except json.JSONDecodeError:
            raise
        except RecursionError:
            raise json.JSONDecodeError("nested too deep", s, idx) from None
        except ValueError:  # Python reads no whole numbers of more than 4,300 digits
            raise json.JSONDecodeError("a number of thousands of digits", s, idx) from None
        brackets = s.count("[", idx, end) + s.count("{", idx, end)
        if brackets > DEEPEST and is_deeper(value):
            raise json.JSONDecodeError("nested too deep", s, idx)
        return value, end


# Raw tabs and line breaks within strings are read, too: many programs write them.
DECODER = _Decoder(strict=False)
SPACE = re.compile(r"[\s\ufeff]*")
LONE = re.compile("[\ud800-\udfff]")  # half of a surrogate pair
ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")  # perhaps one
# Lists of objects that a row may have of its own; any other list is that of the rows.
IN_A_ROW = {
    *("messages", "conversations", "conversation", "history", "tools", "entities", "spans"),
    *("label", "labels", "answers", "annotations", "result", "tokens", "tags", "paragraphs"),
    *("prediction", "predictions"),
}


def read(path: Path, encoding: str, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Yields the rows of a JSON file.

    That is an object per line; or objects over several lines, one after another or in an array;
    or an object around that array, such as ``{"data": [{…}, …]}``.

    Args:
        path: the file.
        encoding: its encoding.
        columns: columns that are wanted: an object that has them is a row itself.

    Raises:
        UserError: it is not JSON, or something else than objects.
    """
    halves: list[int | str] = []  # places of rows with half of a surrogate pair
    with open_text(path, encoding) as file:
        filled = _filled(file)
        first = list(itertools.islice(filled, 2))
        by_line = _is_by_line(first)
        if by_line:
            yield from _of_lines(itertools.chain(first, filled), path, halves)
    if not by_line:
        with open_text(path, encoding) as file:
            yield from _of_text(_held(file, path), columns, path, halves)
    if halves:
        remark(
            f"{path.name}: half of a surrogate pair is replaced by U+FFFD in"
            f" {counted(len(halves), 'row')} (first in {places(halves[:1], 1)})"
        )


def _held(lines: Iterable[str], path: Path) -> str:
    """All of a file as one text.

    Raises:
        UserError: it unpacks to more than its size lets expect of what is held in memory.
    """
    most, size, parts = archives.most(path, archives.HELD), 0, []
    for line in lines:
        size += len(line)
        if size > most:
            raise UserError(f"{path}: {archives.BOMB}")
        parts.append(line)
    return "".join(parts)


def whole(value: Any) -> Any:
    """A value of JSON with U+FFFD for halves of surrogate pairs, which are no text."""
    if isinstance(value, str):
        return LONE.sub("\ufffd", value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {whole(key): whole(item) for key, item in value.items()}
    return value


def _row(value: Any, line: int | str, path: Path) -> Row:
    if not isinstance(value, dict):
        raise UserError(
            f'{place(str(path), line)}: expected an object such as {{"text": …}},'
            f" got {type(value).__name__}"
        )
    return {**value, LINE: line}


def _checked(row: Row, halves: list[int | str]) -> Row:
    """A row without halves of surrogate pairs; notes its place if it had any."""
    mended: Row = whole(row)
    if mended != row:
        halves.append(row[LINE])
    return mended


def _not_json(path: Path, line: int, error: json.JSONDecodeError) -> UserError:
    return UserError(f"{path}:{line}: not valid JSON: {error.msg} at column {error.colno}")


# An object per line


def _filled(file: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Lines that hold something, with their numbers."""
    return ((n, line) for n, line in enumerate(file, 1) if line.strip("\ufeff \t\r\n"))


def is_by_line(path: Path, encoding: str) -> bool:
    """Whether a JSON file is an object per line; rows of any other may have no line of their own.

    Raises:
        UserError: it is not text in this encoding.
    """
    with open_text(path, encoding) as file:
        return _is_by_line(list(itertools.islice(_filled(file), 2)))


def _is_by_line(first: Sequence[tuple[int, str]]) -> bool:
    return not first or (len(first) > 1 and not _goes_on(first[0][1], first[1][1]))


def _of_lines(
    lines: Iterable[tuple[int, str]], path: Path, halves: list[int | str]
) -> Iterator[Row]:
    for line, text in lines:
        text = text.lstrip("\ufeff")  # files joined with their byte order marks
        try:
            value = DECODER.decode(text)
        except json.JSONDecodeError as error:
            raise _not_json(path, line, error) from None
        row = _row(value, line, path)
        yield _checked(row, halves) if ESCAPED.search(text) else row


def _goes_on(text: str, following: str) -> bool:
    """Whether JSON of several lines that begins with these is not one object per line."""
    start = _skip(text, 0)
    try:
        DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        # a string that is not closed may hold a raw line break, unless another row follows
        is_row = following.startswith("{", _skip(following, 0))
        in_string = error.msg.startswith("Unterminated") and not is_row
        is_open = text.startswith(("[", "{"), start)
        return is_open and (error.pos >= len(text.rstrip()) or in_string)
    return False


# Over several lines


def _of_text(
    text: str, columns: Sequence[str], path: Path, halves: list[int | str]
) -> Iterator[Row]:
    suspicious = ESCAPED.search(text)
    try:
        lines = _own_lines(text, columns)
        for number, (_, value) in enumerate(_values(text, columns)):
            where = lines[number] if lines else _name(value, number + 1)
            row = _row(value, where, path)
            yield _checked(row, halves) if suspicious else row
    except json.JSONDecodeError as error:
        raise _not_json(path, error.lineno, error) from None


def _own_lines(text: str, columns: Sequence[str]) -> list[int]:
    """The line where each row starts; none if several start in one, so that it names no row."""
    mark = "\n" if "\n" in text else "\r"
    lines: list[int] = []
    line, seen = 1, 0
    for start, _ in _values(text, columns):
        line += text.count(mark, seen, start)
        if lines and lines[-1] == line:
            return []
        lines.append(line)
        seen = start
    return lines


def _name(value: Any, number: int) -> str:
    """The place of a row without a line of its own: its number, and its id if it has one."""
    key = value.get("id") if isinstance(value, dict) else None
    is_id = isinstance(key, (int, str)) and key != ""
    return f"{ROW}{number}" + (f" (id {shortened(str(key))})" if is_id else "")


def _values(text: str, columns: Sequence[str]) -> Iterator[tuple[int, Any]]:
    """Yields what may be rows, each with the place where it starts."""
    at = _skip(text, 0)
    if text[at] == "[":
        end = _skip(text, (yield from _items(text, at)))
        if end < len(text):
            raise json.JSONDecodeError("Extra data", text, end)
        return
    value, end = DECODER.raw_decode(text, at)
    after = _skip(text, end)
    if after == len(text) and isinstance(value, dict):
        inside = _list_of_rows(value, columns)
        if inside is not None:
            yield from _items(text, _start_of(text, at, inside))
            return
        if _by_column(value):
            yield from ((at, row) for row in _turned(value))
            return
    yield at, value
    while after < len(text):
        at = _skip(text, after + 1) if text[after] == "," else after
        value, end = DECODER.raw_decode(text, at)
        yield at, value
        after = _skip(text, end)


def _items(text: str, start: int) -> Generator[tuple[int, Any], None, int]:
    """Yields the items of the array that starts at a place, each with its own; returns its end."""
    at = _skip(text, start + 1)
    while text[at : at + 1] != "]":
        value, end = DECODER.raw_decode(text, at)
        yield at, value
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    return at + 1


def _list_of_rows(value: Mapping[str, Any], columns: Sequence[str]) -> str | None:
    """The key under which an object holds rows; None if it is a row itself."""
    lists = [
        key
        for key, items in value.items()
        if isinstance(items, list) and items and all(isinstance(item, dict) for item in items)
    ]
    is_row = columns and all(column.partition(".")[0] in value for column in columns)
    if len(lists) != 1 or is_row or (not columns and lists[0] in IN_A_ROW):
        return None
    return lists[0]


def _start_of(text: str, start: int, wanted: str) -> int:
    """Where the value of a key starts in the object that starts at a place."""
    at = start
    while True:
        key, end = DECODER.raw_decode(text, _skip(text, at + 1))
        value_at = _skip(text, _skip(text, end) + 1)
        if key == wanted:
            return value_at
        at = _skip(text, DECODER.raw_decode(text, value_at)[1])


def _by_column(value: Mapping[str, Any]) -> bool:
    """Whether an object holds columns, each by the numbers of rows, as pandas writes them."""
    first = next(iter(value.values()), None)
    if not isinstance(first, dict) or not first or not all(key.isdigit() for key in first):
        return False
    return all(
        isinstance(column, dict) and column.keys() == first.keys() for column in value.values()
    )


def _turned(columns: Mapping[str, Mapping[str, Any]]) -> Iterator[Row]:
    """Yields the rows of columns."""
    for number in next(iter(columns.values())):
        yield {name: column[number] for name, column in columns.items()}


def _skip(text: str, at: int) -> int:
    """The next place that is no space."""
    match = SPACE.match(text, at)
    return match.end() if match else at
