"""Readers of entities: CoNLL text, lists of words and tags, texts with spans of characters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.data import files
from ftlight.data.hub import load_hub, read_hub
from ftlight.tasks.token_classification import tags as spans
from ftlight.utils.errors import UserError, did_you_mean, join_limited

CONLL = (".conll", ".txt", ".bio", ".iob", ".iob2", ".bioes", ".tsv")
SUFFIXES = (*CONLL, ".jsonl", ".json", ".parquet")


class Layout(NamedTuple):
    """Where a file has what.

    Attributes:
        token: column of the word in CoNLL text, from 0 (or from the end with -1).
        tag: column of the tag in CoNLL text.
        tokens: column of the list of words.
        tags: columns that may hold the list of tags.
        text: column of the text.
        spans: columns that may hold the spans.
        tag_names: what tags mean that are numbers.
    """

    token: int = 0
    tag: int = -1
    tokens: str = "tokens"
    tags: tuple[str, ...] = ("tags", "ner_tags")
    text: str = "text"
    spans: tuple[str, ...] = ("spans", "entities")
    tag_names: tuple[str, ...] = ()


def read_rows(
    name: str, split: str, layout: Layout, encoding: str, code: str, digest: str
) -> Iterator[files.Row]:
    """Rows of a split in one form, however they are written.

    Yields:
        ``text`` and its ``spans`` in characters; ``__words`` in characters, ``__gold`` (spans in words), ``__tags`` as the file
        has them, ``__moved`` and ``__lost`` (see :class:`ftlight.tasks.token_classification.tags.Aligned`), ``line``.

    Raises:
        UserError: a row has no words or text, no tags or spans, or they do not fit.
    """
    row: files.Row = {}
    for row in open_rows(name, split, layout, encoding):
        place = f"{name}:{row[files.LINE]}"
        text, words = document(row, layout, place)
        tags: list[str] = []
        if layout.tokens in row:
            tags = _read_tags(row, layout, len(words), place)
            aligned = spans.Aligned(spans.find(tags), 0, 0)
            given = [
                (kind, words[first][0], words[after - 1][1]) for kind, first, after in aligned.spans
            ]
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
    if not row:
        raise UserError(f"{name} holds no sentences")


def open_rows(
    name: str, split: str, layout: Layout, encoding: str, tagged: bool = True
) -> Iterator[files.Row]:
    """Rows of a file or hub data set with their own columns; sentences of CoNLL text as lists of words and tags."""
    if name.startswith("hf:"):
        yield from _read_hub(name, split, layout)
        return
    path = files.check(name, f"data.{split}" if split else "", SUFFIXES)
    if files.suffix(path) in CONLL:
        yield from sentences(files.text_lines(path, encoding), name, layout, tagged)
    else:
        yield from files.read(path, encoding)


def _read_hub(name: str, split: str, layout: Layout) -> Iterator[files.Row]:
    features = {key: table.features for key, table in load_hub(name).items()}.get(split, {})
    inputs = [c for c in (layout.tokens, layout.text) if c in features] or [layout.tokens]
    answers = [
        c for c in (layout.tags if inputs[0] == layout.tokens else layout.spans) if c in features
    ]
    for row in read_hub(name, split, [inputs[0], *answers[:1]]):
        names = (
            getattr(getattr(features[answers[0]], "feature", None), "names", None)
            if answers
            else None
        )
        yield {**row, answers[0]: [names[v] for v in row[answers[0]]]} if names else row


def document(row: Mapping[str, Any], layout: Layout, place: str) -> tuple[str, list[spans.Range]]:
    """Text of a row and the characters of its words: the words given, else the text's own (:func:`.tags.split`).

    Raises:
        UserError: it has neither, or they are not what they should be.
    """
    if layout.tokens in row:
        words = row[layout.tokens]
        if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
            raise UserError(
                f"{place}: column {layout.tokens} holds no list of words; for running text name its column in data.text"
            )
        return spans.join(words)
    if layout.text not in row:
        have = [k for k in row if k != files.LINE]
        what = f"no column {layout.tokens} (words) or {layout.text} (text){did_you_mean(layout.text, have)}"
        raise UserError(
            f"{place}: {what} (columns: {join_limited(have)}); set data.tokens or data.text"
        )
    name, _, line = place.rpartition(":")
    text = files.as_text(row[layout.text], name, int(line), layout.text)
    return text, spans.split(text)


def _first(row: files.Row, names: Sequence[str], option: str, place: str) -> Any:
    """The value of the first column there is."""
    for name in names:
        if name in row:
            return row[name]
    have = [k for k in row if k != files.LINE]
    what = f"no column {' or '.join(names)}{did_you_mean(names[0], have)}"
    raise UserError(f"{place}: {what} (columns: {join_limited(have)}); set data.{option}")


def _read_tags(row: files.Row, layout: Layout, words: int, place: str) -> list[str]:
    tags, names = _first(row, layout.tags, "tags", place), layout.tag_names
    if not isinstance(tags, list) or len(tags) != words:
        raise UserError(
            f"{place}: {len(tags) if isinstance(tags, list) else 'no list of'} tags for {words} words; each word needs one"
        )
    if any(not isinstance(t, (str, int)) or isinstance(t, bool) for t in tags):
        raise UserError(
            f"{place}: tags are words such as B-PER, or numbers of data.tag_names; got {join_limited(map(repr, tags), 4)}"
        )
    if any(isinstance(t, int) and not 0 <= t < len(names) for t in tags):
        raise UserError(
            f"{place}: the tags are numbers; say what they mean, in order: data.tag_names: [O, B-PER, I-PER, …]"
        )
    return [names[t] if isinstance(t, int) else t.strip() for t in tags]


def _read_spans(row: files.Row, layout: Layout, text: str, place: str) -> list[spans.Span]:
    found = []
    for item in _first(row, layout.spans, "spans", place) or []:
        named = (
            item
            if isinstance(item, Mapping)
            else dict(zip(("start", "end", "label"), item, strict=False))
        )
        kind, start, end, said = (
            named.get("label", named.get("type")),
            named.get("start"),
            named.get("end"),
            named.get("text"),
        )
        if (
            not isinstance(kind, str)
            or not kind.strip()
            or type(start) is not int
            or type(end) is not int
        ):
            raise UserError(
                f'{place}: expected a span such as {{"start": 0, "end": 5, "label": "PER"}} or [0, 5, "PER"], got {item!r}'
            )
        if not 0 <= start < end <= len(text):
            raise UserError(
                f"{place}: span {start} to {end} is not within the {len(text)} characters of the text; the end is exclusive"
            )
        if said is not None and said != text[start:end]:
            raise UserError(
                f"{place}: span {start} to {end} is {text[start:end]!r} in the text, not {said!r}; the end is exclusive"
            )
        found.append((kind.strip(), start, end))
    return found


# CoNLL text


def sentences(
    lines: Iterable[tuple[int, str]], place: str, layout: Layout, tagged: bool = True
) -> Iterator[files.Row]:
    """Sentences of CoNLL text: a word per line with its tag, a blank line between sentences.

    Columns are divided by tabs, in a line without one by spaces. ``-DOCSTART-`` and comments are no words: a comment stands
    before a sentence, begins with ``#`` and has no tag (``# id 1``, but not ``#`` or ``#tag`` with a tag beside it).

    Args:
        lines: number and text of each line.
        place: file, for an error.
        layout: columns of word and tag, and the names of the lists.
        tagged: whether there must be tags.

    Yields:
        List of words, of tags (where there must be any) and the line of the first word.

    Raises:
        UserError: a line has not the columns of those before it, or the file has no such column.
    """
    words: list[str] = []
    tags: list[str] = []
    token, tag, first, width = layout.token, layout.tag, 0, 0

    def made() -> files.Row:
        return {
            layout.tokens: words,
            **({layout.tags[0]: tags} if tagged else {}),
            files.LINE: first,
        }

    for number, line in lines:
        if not line.strip() or line.startswith("-DOCSTART-"):
            if words:
                yield made()
            words, tags = [], []
            continue
        fields = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
        if not words and _is_comment(line, fields, width, tag, tagged):
            continue
        if width and len(fields) != width:
            raise UserError(
                f"{place}:{number}: {len(fields)} columns, the lines before have {width}; columns are divided by tabs or spaces"
            )
        if not width:
            _check_columns(fields, token, tag, tagged, f"{place}:{number}")
        width, first = len(fields), first if words else number
        words.append(fields[token])
        if tagged:
            tags.append(fields[tag].strip())
            if not tags[-1]:
                raise UserError(
                    f"{place}:{number}: the word {fields[token]!r} has no tag; write O where it is in no entity"
                )
    if words:
        yield made()


def _is_comment(line: str, fields: Sequence[str], width: int, tag: int, tagged: bool) -> bool:
    """Whether a line before a sentence that begins with ``#`` is a comment: it has no tag and is unlike a line with a word."""
    if not line.startswith("#") or re.match(r"#\s*\S+\s*=", line):
        return line.startswith("#")
    if not tagged and (len(fields) == 1 or fields[0] != "#"):
        return False
    if width and len(fields) != width:
        return True
    column = fields[tag].strip() if -len(fields) <= tag < len(fields) else ""
    return not spans.is_tag(column) and (not width or any("=" in field for field in fields))


def _check_columns(fields: Sequence[str], token: int, tag: int, tagged: bool, place: str) -> None:
    for option, column in (("token", token), *([("tag", tag)] if tagged else [])):
        if not -len(fields) <= column < len(fields):
            raise UserError(
                f"{place}: no column {column}, the lines have {len(fields)}; set data.{option} (from 0, or -1 for the last)"
            )
    if tagged and token % len(fields) == tag % len(fields):
        raise UserError(
            f"{place}: the word and its tag are both column {token % len(fields)}; set data.token and data.tag"
        )
