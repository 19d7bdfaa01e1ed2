"""Readers of files and hub data sets of chats and plain texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from ftlight.data import files
from ftlight.data.sources import Source
from ftlight.tasks.causal_lm import calls, formats
from ftlight.tasks.causal_lm.formats import Columns
from ftlight.tasks.causal_lm.messages import dump
from ftlight.utils.errors import UserError

OnBadChat = Literal["error", "skip"]
SUFFIXES = (*files.SUFFIXES, ".txt")
SKIP = "data.on_bad_chat: skip leaves such rows out"


def _paragraphs(source: Source, column: str) -> Iterator[files.Row]:
    """Texts of a text file: its paragraphs if blank lines divide it, else its lines."""
    path, encoding = source.path, source.encoding
    filled = "".join("x" if text.strip() else " " for _, text in files.text_lines(path, encoding))
    divided = " " in filled.strip()  # a blank line at the end divides nothing
    lines = files.text_lines(path, encoding)
    for line, text in files.divided(lines, "paragraph" if divided else "line"):
        yield {column: text, files.LINE: line}


def open_rows(source: Source, names: Columns) -> Iterator[files.Row]:
    """Rows of a split with the columns they have."""
    if source.suffix == ".txt":
        return _paragraphs(source, names.text)
    if source.on_hub:
        return map(calls.without_none, source.rows(source.columns()))
    rows = source.read(optional=[name for name in names if name])
    return map(calls.without_none, rows) if source.suffix == ".parquet" else rows


def read_rows(
    source: Source, names: Columns, on_bad_chat: OnBadChat, digest: str
) -> Iterator[files.Row]:
    """Yields the rows of a split; rows of plain text without text are left out.

    Args:
        source: file or data set.
        names: names of columns.
        on_bad_chat: what to do with a row that is no chat.
        digest: identifies the content, for the cache.

    Yields:
        ``messages`` as JSON (see :func:`dump`), their ``format`` and the ``line``; ``__unused``,
        the columns that are not read, and ``__bad``, why rows around it are left out, as JSON.

    Raises:
        UserError: a row is no chat; names file and line.
    """
    kind = ""
    before: files.Row | None = None  # held back, to tell of the rows left out behind it
    bad: list[str] = []
    default = Columns()._asdict()
    named = {o: name for o, name in names._asdict().items() if name not in ("", default[o])}
    for row in files.found_in_some(open_rows(source, names), named, source.name):
        kind = kind or formats.detect(row, names, source.name)
        try:
            read = _read(row, kind, names, source.name)
        except UserError as error:
            if on_bad_chat == "error":
                raise UserError(f"{error} ({SKIP})") from None
            bad.append(str(error))
            continue
        if read is None:
            continue
        if before is not None:
            yield {**before, "__bad": json.dumps(before["__bad"], ensure_ascii=False)}
        before, bad = {**read, "__bad": bad}, []
    if before is None:
        why = f": no row is a chat; the first: {bad[0]}" if bad else " has no rows"
        raise UserError(f"{source.name}{why}")
    yield {**before, "__bad": json.dumps(before["__bad"] + bad, ensure_ascii=False)}


def _read(row: files.Row, kind: str, names: Columns, name: str) -> dict[str, Any] | None:
    """What is stored of a row; None for a row of plain text without text."""
    wanted = {"prompt": (names.prompt, names.completion), "text": (names.text,)}
    files.need(row, wanted.get(kind, (kind,)), name)
    messages = formats.read(row, kind, names, files.place(name, row[files.LINE]))
    if kind == "text" and not messages[0].content:
        return None
    unused = json.dumps(formats.unused(row, kind, names), ensure_ascii=False)
    line = row[files.LINE]
    return {"messages": dump(messages), "format": kind, "line": line, "__unused": unused}
