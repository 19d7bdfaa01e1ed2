"""Readers of entities: CoNLL text, lists of words and tags, texts with spans of characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.data import files
from ftlight.data.remarks import remark
from ftlight.data.sources import Source
from ftlight.tasks.token_classification import (
    conll,
    label_studio,
    marks,
    offsets,
    spelling,
    word_rows,
)
from ftlight.tasks.token_classification import tags as spans
from ftlight.tasks.token_classification.layout import Layout
from ftlight.utils.errors import UserError, did_you_mean, join_limited
from ftlight.utils.format import counted

SUFFIXES = tuple(dict.fromkeys((*conll.SUFFIXES, *files.SUFFIXES)))


class Habits(NamedTuple):
    """How a file is written, which only all of its rows together tell.

    Attributes:
        tags: tags in another form than B-LOC, with that form.
        unit: what spans are counted in.
    """

    tags: Mapping[str, str]
    unit: offsets.Unit


def read_rows(source: Source, layout: Layout, code: str, digest: str) -> Iterator[files.Row]:
    """Yields the rows of a split in one form, however they are written.

    Yields:
        ``text`` and its ``spans`` in characters; ``__words`` in characters, ``__gold`` (spans in
        words), ``__tags`` as the file has them but in the form B-LOC, ``__moved`` and ``__lost``
        (see :class:`.tags.Aligned`), ``line``.

    Raises:
        UserError: a row has no words or text, no tags or spans, or they do not fit.
    """
    layout = _settled(source, layout)
    habits = _habits(source, layout)
    facts = Counter[str]()
    empty = True
    for row in _gold_rows(source, layout):
        empty = False
        yield _read_row(row, layout, habits, facts, files.place(source.name, row[files.LINE]))
    if empty:
        raise UserError(f"{source.name} holds no sentences")
    for fact, count in facts.items():
        remark(f"{Path(source.name).name}: {counted(count, 'row')} {fact}")


def _settled(source: Source, layout: Layout) -> Layout:
    """A layout that knows the text of tasks of Label Studio, if it has another name there.

    A task without marks does not tell which of its columns it is.
    """
    if source.suffix not in (".json", ".jsonl"):
        return layout
    rows = open_rows(source, layout, tagged=False)
    first = next(rows, {})
    if not marks.is_task(first) or layout.text in first["data"]:
        return layout
    return layout._replace(task_text=label_studio.config_of(chain([first], rows), layout).text)


def _gold_rows(source: Source, layout: Layout) -> Iterator[files.Row]:
    return marks.accepted(open_rows(source, layout), layout, source.name)


def _habits(source: Source, layout: Layout) -> Habits:
    """Reads a file once to see how it is written."""
    tags: dict[str, None] = {}

    def marked() -> Iterator[tuple[str, list[marks.Mark]]]:
        for row in _gold_rows(source, layout):
            place = files.place(source.name, row[files.LINE])
            if has_words(row, layout):
                words = row[layout.tokens]
                if isinstance(words, list):  # else the second reading says what is wrong
                    tags.update(dict.fromkeys(_read_tags(row, layout, len(words), place)))
            else:
                yield _text(row, layout, place), marks.read(row, layout, place)

    unit = offsets.unit_of(marked())
    return Habits(spelling.standard(tags), unit)


def _read_row(
    row: files.Row, layout: Layout, habits: Habits, facts: Counter[str], place: str
) -> files.Row:
    """A row in the form of all; counts in ``facts`` what a person should know of it."""
    text, words = document(row, layout, place)
    tags: list[str] = []
    if has_words(row, layout):
        written = _read_tags(row, layout, len(words), place)
        tags = [habits.tags.get(tag, tag) for tag in written]
        if tags != written:
            old, new = next(iter(habits.tags.items()))
            facts[f"with tags such as {old}, which are read as {new}"] += 1
        aligned = spans.Aligned(spans.find(tags), 0, 0)
        given = [(kind, words[a][0], words[b - 1][1]) for kind, a, b in aligned.spans]
    else:
        found = marks.read(row, layout, place)
        unit = offsets.unit_of_row(found, text, habits.unit)
        moved = offsets.in_characters(found, text, unit)
        if moved != found:
            facts[f"with spans counted in {unit}, and read so"] += 1
        given = [_checked(*pair, text, place) for pair in zip(found, moved, strict=True)]
        aligned = spans.align(given, words)
    return {
        "text": text,
        "spans": [{"type": kind, "text": text[a:b], "start": a, "end": b} for kind, a, b in given],
        "__words": [list(word) for word in words],
        "__gold": [{"type": kind, "start": a, "end": b} for kind, a, b in aligned.spans],
        "__tags": tags,
        "__moved": aligned.moved,
        "__lost": aligned.lost,
        "line": row[files.LINE],
    }


def open_rows(source: Source, layout: Layout, tagged: bool = True) -> Iterator[files.Row]:
    """Rows with their own columns; sentences of CoNLL text as lists of words and tags."""
    if word_rows.is_table(source, layout):
        rows = _read(source, layout, [layout.text, *layout.spans], tagged)
        return word_rows.sentences(rows, source.name, layout, tagged)
    if source.suffix in conll.SUFFIXES:
        lines = files.text_lines(source.path, source.encoding)
        return conll.sentences(lines, source.name, layout, tagged)
    if not source.on_hub:
        columns = [layout.text, layout.tokens, *layout.tags, *layout.spans]
        return _read(source, layout, columns, tagged)
    columns = source.columns()
    first = (
        layout.text if layout.text in columns and layout.tokens not in columns else layout.tokens
    )
    answers = layout.tags if first == layout.tokens else layout.spans
    return source.rows([first], [name for name in answers if name in columns][:1])


def _read(
    source: Source, layout: Layout, columns: Sequence[str], tagged: bool
) -> Iterator[files.Row]:
    """Rows of a table or JSON; if tagged, some have the columns that options name, but the text."""
    rows = source.read(optional=columns)
    return files.found_in_some(rows, layout.named, source.name) if tagged else rows


def has_words(row: Mapping[str, Any], layout: Layout) -> bool:
    """Whether a row has a list of words; Prodigy lists tokens as objects, beside the text."""
    words = row.get(layout.tokens)
    objects = isinstance(words, list) and all(isinstance(word, Mapping) for word in words)
    return layout.tokens in row and not (objects and layout.text in row)


def document(row: Mapping[str, Any], layout: Layout, place: str) -> tuple[str, list[spans.Range]]:
    """Text of a row and the characters of its words, which are given or split from the text.

    Raises:
        UserError: it has neither, or they are of the wrong type.
    """
    row = marks.plain(row, layout)
    if has_words(row, layout):
        words = row[layout.tokens]
        if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
            raise UserError(
                f"{place}: column {layout.tokens} holds no list of words;"
                " for running text name its column in data.text"
            )
        return spans.join(words)
    text = _text(row, layout, place)
    return text, spans.split(text)


def _text(row: Mapping[str, Any], layout: Layout, place: str) -> str:
    if layout.text not in row:
        columns = files.names(row)
        raise UserError(
            f"{place}: no column {layout.tokens} (words) or {layout.text} (text)"
            f"{did_you_mean(layout.text, columns)} (columns: {join_limited(columns)});"
            " set data.tokens or data.text"
        )
    return files.text_at(row[layout.text], place, layout.text)


def _read_tags(row: files.Row, layout: Layout, words: int, place: str) -> list[str]:
    column = next((name for name in layout.tags if name in row), None)
    if column is None:
        columns = files.names(row)
        raise UserError(
            f"{place}: no column {' or '.join(layout.tags)}{did_you_mean(layout.tags[0], columns)}"
            f" (columns: {join_limited(columns)}); set data.tags"
        )
    tags, names = row[column], layout.tag_names
    if not isinstance(tags, list) or len(tags) != words:
        count = len(tags) if isinstance(tags, list) else "no list of"
        raise UserError(f"{place}: {count} tags for {words} words; each word needs one")
    if any(not isinstance(t, (str, int)) or isinstance(t, bool) for t in tags):
        raise UserError(
            f"{place}: tags are words such as B-PER, or numbers of data.tag_names;"
            f" got {join_limited(map(repr, tags), 4)}"
        )
    if any(isinstance(t, int) and not 0 <= t < len(names) for t in tags):
        raise UserError(
            f"{place}: the tags are numbers;"
            " name them in order: data.tag_names: [O, B-PER, I-PER, …]"
        )
    return [names[t] if isinstance(t, int) else t.strip() for t in tags]


def _checked(given: marks.Mark, mark: marks.Mark, text: str, place: str) -> spans.Span:
    """A span of a text, after a check.

    Args:
        given: the span as the file has it.
        mark: the same in characters.
        text: the text.
        place: file and line, for errors.

    Raises:
        UserError: it is empty, outside the text, or not the text that the file says.
    """
    kind, start, end, copy = mark
    if not 0 <= start < end <= len(text):
        raise UserError(
            f"{place}: span {given.start} to {given.end} is not within the {len(text)} characters"
            " of the text; the end is exclusive"
        )
    if copy is not None and copy != text[start:end]:
        raise UserError(
            f"{place}: span {given.start} to {given.end} is {text[start:end]!r} in the text,"
            f" not {copy!r}; the end is exclusive"
        )
    return kind, start, end
