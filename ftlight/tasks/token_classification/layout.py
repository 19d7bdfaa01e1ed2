"""Where a file holds words, tags, texts and spans."""

from __future__ import annotations

from typing import NamedTuple


class Layout(NamedTuple):
    """Which column of a file holds what.

    Attributes:
        token: column of the word in CoNLL text, from 0 (or from the end with -1).
        tag: column of the tag in CoNLL text.
        tokens: column of the list of words.
        tags: columns that may hold the list of tags.
        text: column of the text.
        spans: columns that may hold the spans.
        tag_names: names of tags that are numbers.
    """

    token: int = 0
    tag: int = -1
    tokens: str = "tokens"
    tags: tuple[str, ...] = ("tags", "ner_tags")
    text: str = "text"
    spans: tuple[str, ...] = ("spans", "entities", "label", "labels")
    tag_names: tuple[str, ...] = ()
