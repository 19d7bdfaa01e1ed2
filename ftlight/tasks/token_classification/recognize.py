"""Whether a file holds texts with entities, as ``init`` asks."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any

from ftlight.data import files
from ftlight.data.recognition import Content, Look, Options, Shape
from ftlight.data.sources import Source
from ftlight.tasks.token_classification import conll, marks, readers, word_rows
from ftlight.tasks.token_classification.layout import Layout, layout_of
from ftlight.utils.errors import UserError

TAG = re.compile(r"[Oo]|[BIESLUbi][-_:]\S+|\S+[-_:][BIESLU]")
WORDS = ("tokens", "words", "token", "word")
TAGS = ("tags", "ner_tags", "ner", "tag", "ner_tag", "labels", "label", "entities", "entity")
SENTENCES = (
    *("sentence #", "sentence", "sentence_id", "sent_id", "sentence_idx", "sentence id"),
    *("document", "document_id", "doc_id"),
)
SPANS = Layout().spans


def recognize(look: Look) -> Shape | None:
    """CoNLL text, a word and its tag in each row, lists of both, or texts with spans."""
    suffix = look.source.suffix
    if suffix in conll.SUFFIXES and (suffix not in (".txt", ".tsv") or _is_tagged(look.source)):
        return Shape({}, "a word and its tag in each line")
    words, tags = look.named(WORDS), look.named(TAGS)
    if words and tags and isinstance(look.first[words], list) and _is_words(look.first[words]):
        return Shape(_named(words, tags), "lists of words and tags")
    is_table = suffix in (*word_rows.SUFFIXES, ".tsv")
    if words and tags and is_table and _are_tags(look.values(tags)):
        sentence = look.named(SENTENCES)
        options = {
            **_named(words, tags, always=True),
            **({"sentence": sentence} if sentence else {}),
        }
        return Shape(options, "a word and its tag in each row")
    return _spans(look)


def _named(words: str, tags: str, always: bool = False) -> dict[str, Any]:
    options = {} if words == "tokens" and not always else {"tokens": words}
    return options if tags in Layout().tags and not always else {**options, "tags": tags}


def _is_words(value: list[Any]) -> bool:
    return all(isinstance(word, str) for word in value)


def _are_tags(values: list[Any]) -> bool:
    """Whether nearly all values look like B-PER or O."""
    good = sum(bool(TAG.fullmatch(str(value).strip())) for value in values)
    return bool(values) and good >= 0.9 * len(values)


def _is_tagged(source: Source) -> bool:
    """Whether each of the first lines is words that end in a tag such as ``B-PER``."""
    lines = [line for _, line in islice(files.text_lines(source.path, source.encoding), 200)]
    words = [
        line.split() for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))
    ]
    return bool(words) and all(len(w) > 1 and TAG.fullmatch(w[-1]) for w in words)


def _spans(look: Look) -> Shape | None:
    """Texts with spans, as annotation tools export them."""
    if any(True for row in look.rows for _ in marks.regions(row)):
        return Shape({}, "texts with spans (Label Studio)")
    for column in look.first:
        values = [_parsed(value) for value in look.values(column)]
        lists = [value for value in values if isinstance(value, list)]
        items = [item for value in lists for item in value]
        known = column in SPANS[:2] and len(lists) == len(look.rows)
        if (items and all(map(_is_span, items))) or (known and not items):
            text = _text(look, column)
            options = {} if column in SPANS else {"spans": column}
            return Shape({**options, **text}, "texts with spans")
    return None


def _parsed(value: Any) -> Any:
    """A cell of a table that holds spans as JSON, as Label Studio's CSV has them."""
    if isinstance(value, str) and value.startswith("[{"):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def _text(look: Look, spans: str) -> dict[str, str]:
    """The option that names the text, unless the reader finds it."""
    layout = layout_of(spans=None if spans in SPANS else spans)
    if layout.text in marks.plain(look.rows[0], layout):
        return {}
    texts = look.texts()
    return {"text": texts[0]} if texts else {}


def _is_span(item: Any) -> bool:
    if isinstance(item, Mapping):
        return any(type(item.get(name)) is int for name in marks.START)
    return isinstance(item, list) and len(item) == 3 and all(type(n) is int for n in item[:2])


def survey(source: Source, options: Options, train: Content | None = None) -> Content:
    """What a split holds.

    Raises:
        UserError: it cannot be read, holds no entity, or a type that train has not.
    """
    layout = layout_of(**options)
    counts = Counter[str]()
    rows = 0
    for row in readers.read_rows(source, layout, "", ""):
        rows += 1
        counts.update(span["type"] for span in row["__gold"])
    if train is None and not counts:
        raise UserError(f"{source.name}: no entity anywhere; there is nothing to learn")
    new = sorted(set(counts) - set(train.labels)) if train else []
    if new:
        raise UserError(f"{source.name}: type {new[0]!r} is not in train")
    unit = "sentences" if source.suffix in (*conll.SUFFIXES, *word_rows.SUFFIXES) else "texts"
    return Content(rows, unit, counts, "entities")
