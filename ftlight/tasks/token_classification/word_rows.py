"""Tables with a word and its tag in each row, as Kaggle and spreadsheets have them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from ftlight.data import files
from ftlight.data.remarks import remark
from ftlight.data.sources import Source
from ftlight.tasks.token_classification.layout import Layout
from ftlight.utils.errors import UserError, did_you_mean, join_limited

SUFFIXES = (".csv", ".xlsx")


def is_table(source: Source, layout: Layout) -> bool:
    """Whether a file is a table; a .tsv is CoNLL text unless its first line names the columns."""
    if source.suffix != ".tsv":
        return source.suffix in SUFFIXES
    if source.header:
        return True
    _, line = next(files.text_lines(source.path, source.encoding), (0, ""))
    names = {name.strip('\ufeff" ') for name in line.split("\t")}
    return layout.tokens in names and any(tag in names for tag in layout.tags)


def sentences(
    rows: Iterator[files.Row], place: str, layout: Layout, tagged: bool = True
) -> Iterator[files.Row]:
    """Yields the sentences of a table with a word in each row; other rows as they are.

    A sentence ends where its column holds something else, but not where it is empty; without such a
    column at a blank row. Rows without a word are left out. A table with a column of the text has
    its spans as JSON.

    Args:
        rows: rows as read.
        place: their file, for errors.
        layout: columns of word, tag and sentence.
        tagged: whether there must be tags.

    Raises:
        UserError: a column is missing, or a word has no tag.
    """
    first = next(rows, None)
    if first is None:
        return
    rows = itertools.chain([first], rows)
    if layout.tokens not in first and layout.text in first:
        yield from (_with_spans(row, layout) for row in rows)
        return
    tag = next((name for name in layout.tags if name in first), "")
    _check_columns(first, tag, layout, place, tagged)
    words: list[str] = []
    tags: list[str] = []
    start = before = left_out = 0
    current = ""
    for row in rows:
        line = row[files.LINE]
        word = files.cell(row, layout.tokens, place).strip()
        named = files.cell(row, layout.sentence, place).strip() if layout.sentence else ""
        blank = not layout.sentence and (line > before + 1 or not word)
        if words and (blank or (named and named != current)):
            yield _sentence(words, tags, start, layout, tagged)
            words, tags = [], []
        before, current = line, named or current
        if not word:
            left_out += bool(tagged and files.cell(row, tag, place).strip())
            continue
        start = start if words else line
        words.append(word)
        if tagged:
            tags.append(files.filled(row, tag, place).strip())
    if words:
        yield _sentence(words, tags, start, layout, tagged)
    if left_out:
        remark(f"{Path(place).name}: {left_out:,} rows have a tag but no word and are left out")


def _check_columns(row: files.Row, tag: str, layout: Layout, place: str, tagged: bool) -> None:
    """Refuses a table without a column of words, tags or sentences."""
    columns = files.names(row)
    wanted = {"tokens": layout.tokens, "sentence": layout.sentence}
    wanted["tags"] = "" if tag or not tagged else layout.tags[0]
    for option, name in wanted.items():
        if name and name not in row:
            raise UserError(
                f"{place}: no column {name}{did_you_mean(name, columns)}"
                f" (columns: {join_limited(columns)}); set data.{option}"
            )


def _sentence(
    words: list[str], tags: list[str], line: int, layout: Layout, tagged: bool
) -> files.Row:
    row = {layout.tokens: words, files.LINE: line}
    return {**row, layout.tags[0]: tags} if tagged else row


def _with_spans(row: files.Row, layout: Layout) -> files.Row:
    """A row whose spans are a list, if they were written as JSON."""
    for name in layout.spans:
        if isinstance(row.get(name), str) and row[name].strip().startswith("["):
            try:
                return {**row, name: json.loads(row[name])}
            except json.JSONDecodeError:
                return row  # the reader of spans says what it expects
    return row
