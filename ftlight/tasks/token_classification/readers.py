"""Readers of entities: CoNLL text, lists of words and tags, texts with spans of characters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ftlight.data import files
from ftlight.data.sources import Source
from ftlight.tasks.token_classification import conll
from ftlight.tasks.token_classification import tags as spans
from ftlight.tasks.token_classification.layout import Layout
from ftlight.utils.errors import UserError, did_you_mean, join_limited

SUFFIXES = (*conll.SUFFIXES, ".jsonl", ".json", ".parquet")


def read_rows(source: Source, layout: Layout, code: str, digest: str) -> Iterator[files.Row]:
    """Yields the rows of a split in one form, however they are written.

    Yields:
        ``text`` and its ``spans`` in characters; ``__words`` in characters, ``__gold`` (spans in
        words), ``__tags`` as the file has them, ``__moved`` and ``__lost`` (see
        :class:`.tags.Aligned`), ``line``.

    Raises:
        UserError: a row has no words or text, no tags or spans, or they do not fit.
    """
    empty = True
    for row in open_rows(source, layout):
        empty = False
        place = f"{source.name}:{row[files.LINE]}"
        text, words = document(row, layout, place)
        tags: list[str] = []
        if layout.tokens in row:
            tags = _read_tags(row, layout, len(words), place)
            aligned = spans.Aligned(spans.find(tags), 0, 0)
            given = [(kind, words[a][0], words[b - 1][1]) for kind, a, b in aligned.spans]
        else:
            given = _read_spans(row, layout, text, place)
            aligned = spans.align(given, words)
        yield {
            "text": text,
            "spans": [
                {"type": kind, "text": text[a:b], "start": a, "end": b} for kind, a, b in given
            ],
            "__words": [list(word) for word in words],
            "__gold": [{"type": kind, "start": a, "end": b} for kind, a, b in aligned.spans],
            "__tags": tags,
            "__moved": aligned.moved,
            "__lost": aligned.lost,
            "line": row[files.LINE],
        }
    if empty:
        raise UserError(f"{source.name} holds no sentences")


def open_rows(source: Source, layout: Layout, tagged: bool = True) -> Iterator[files.Row]:
    """Rows with their own columns; sentences of CoNLL text as lists of words and tags."""
    if source.suffix in conll.SUFFIXES:
        lines = files.text_lines(source.path, source.encoding)
        return conll.sentences(lines, source.name, layout, tagged)
    if not source.on_hub:
        return files.read(source.path, source.encoding)
    columns = source.columns()
    first = (
        layout.text if layout.text in columns and layout.tokens not in columns else layout.tokens
    )
    answers = layout.tags if first == layout.tokens else layout.spans
    return source.rows([first], [name for name in answers if name in columns][:1])


def document(row: Mapping[str, Any], layout: Layout, place: str) -> tuple[str, list[spans.Range]]:
    """Text of a row and the characters of its words, which are given or split from the text.

    Raises:
        UserError: it has neither, or they are of the wrong type.
    """
    if layout.tokens in row:
        words = row[layout.tokens]
        if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
            raise UserError(
                f"{place}: column {layout.tokens} holds no list of words;"
                " for running text name its column in data.text"
            )
        return spans.join(words)
    if layout.text not in row:
        columns = files.names(row)
        raise UserError(
            f"{place}: no column {layout.tokens} (words) or {layout.text} (text)"
            f"{did_you_mean(layout.text, columns)} (columns: {join_limited(columns)});"
            " set data.tokens or data.text"
        )
    name, _, line = place.rpartition(":")
    text = files.as_text(row[layout.text], name, int(line), layout.text)
    return text, spans.split(text)


def _first(row: files.Row, names: Sequence[str], option: str, place: str) -> Any:
    """The value of the first of some columns that a row has."""
    for name in names:
        if name in row:
            return row[name]
    columns = files.names(row)
    raise UserError(
        f"{place}: no column {' or '.join(names)}{did_you_mean(names[0], columns)}"
        f" (columns: {join_limited(columns)}); set data.{option}"
    )


def _read_tags(row: files.Row, layout: Layout, words: int, place: str) -> list[str]:
    tags, names = _first(row, layout.tags, "tags", place), layout.tag_names
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


def _read_spans(row: files.Row, layout: Layout, text: str, place: str) -> list[spans.Span]:
    items = _first(row, layout.spans, "spans", place) or []
    return [_read_span(item, text, place) for item in items]


def _read_span(item: Any, text: str, place: str) -> spans.Span:
    if isinstance(item, Mapping):
        span = item
    else:
        span = dict(zip(("start", "end", "label"), item, strict=False))
    kind, copy = span.get("label", span.get("type")), span.get("text")
    start, end = span.get("start"), span.get("end")
    named = isinstance(kind, str) and kind.strip()
    if not named or type(start) is not int or type(end) is not int:
        raise UserError(
            f'{place}: expected a span such as {{"start": 0, "end": 5, "label": "PER"}}'
            f' or [0, 5, "PER"], got {item!r}'
        )
    if not 0 <= start < end <= len(text):
        raise UserError(
            f"{place}: span {start} to {end} is not within the {len(text)} characters of the text;"
            " the end is exclusive"
        )
    if copy is not None and copy != text[start:end]:
        raise UserError(
            f"{place}: span {start} to {end} is {text[start:end]!r} in the text, not {copy!r};"
            " the end is exclusive"
        )
    return kind.strip(), start, end
