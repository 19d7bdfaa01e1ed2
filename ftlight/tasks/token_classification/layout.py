"""Where a file holds words, tags, texts and spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


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
        sentence: column that tells the sentences of a table with a word in each row.
        task_text: column of the text in tasks of Label Studio, if it is known.
    """

    token: int = 0
    tag: int = -1
    tokens: str = "tokens"
    tags: tuple[str, ...] = ("tags", "ner_tags")
    text: str = "text"
    spans: tuple[str, ...] = ("spans", "entities", "label", "labels")
    tag_names: tuple[str, ...] = ()
    sentence: str = ""
    task_text: str = ""

    @property
    def named(self) -> dict[str, str]:
        """Columns of words and answers that are not the defaults, by option."""
        default = Layout()
        names = {"tokens": self.tokens, "sentence": self.sentence}
        names |= {"tags": self.tags[0] if self.tags != default.tags else ""}
        names |= {"spans": self.spans[0] if self.spans != default.spans else ""}
        return {o: name for o, name in names.items() if name not in ("", default.tokens)}


def layout_of(
    token: int = 0,
    tag: int = -1,
    tokens: str = "tokens",
    tags: str | None = None,
    text: str = "text",
    spans: str | None = None,
    tag_names: Sequence[str] | None = None,
    sentence: str | None = None,
) -> Layout:
    """A layout by the options of data, of which those that are None have several defaults."""
    lists: dict[str, Any] = {"tags": (tags,)} if tags else {}
    if spans:
        lists["spans"] = (spans,)
    names = tuple(tag_names or ())
    return Layout(token, tag, tokens, text=text, tag_names=names, sentence=sentence or "", **lists)
