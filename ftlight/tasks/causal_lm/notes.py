"""What the data of chats are made of, and what is cut or unusual: a line for each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import datasets

from ftlight.tasks.causal_lm import chat_template, template_source
from ftlight.tasks.causal_lm import messages as chat
from ftlight.utils.errors import join_limited
from ftlight.utils.format import counted


def format_note(kind: str, template: chat_template.Template, ends: Sequence[int]) -> str:
    """How rows become samples to train on: their format, the template, what ends a reply."""
    if kind == "text":
        return "plain text, all of it is learned"
    same = template_source.own(template.tokenizer)[0] == template.source
    name = "the tokenizer's own chat template" if same else "a plain chat template"
    ended = ", ".join(template.tokenizer.convert_ids_to_tokens(list(ends)))
    return f"chats as {kind}, {name}; replies end with {ended}"


def sample_notes(
    split: str, table: datasets.Dataset, encoded: datasets.Dataset, limit: int
) -> Iterator[str]:
    """Yields how many rows were cut into several samples, and how many turns were cut short."""
    pieces = sum(encoded["pieces"][:])
    if pieces > len(table):
        turns = "" if table["format"][0] == "text" else ", at turns"
        yield f"{split}: {counted(len(table), 'row', 'are')} cut into {pieces:,} samples{turns}"
    lost = [count for count in encoded["lost"][:] if count]
    if lost:
        share = sum(lost) / (sum(lost) + sum(encoded["length"][:]))
        yield (
            f"{split}: {counted(len(lost), 'turn', 'are')} longer than {limit} tokens and cut"
            f" ({share:.1%} of all tokens lost)"
        )


def chat_notes(split: str, chats: Sequence[str], tokenizer: Any) -> Iterator[str]:
    """Yields how many chats hold the text of a special token, or have no reply at their end."""
    added = tokenizer.added_tokens_decoder.values()
    special = [t.content for t in added if t.special and len(t.content) > 2]
    starts = {token[:2] for token in special}  # special tokens may be hundreds
    marked = []
    for text in chats:
        if any(start in text for start in starts):
            marked += [token for token in special if token in text][:1]
    if marked:
        yield (
            f"{split}: {counted(len(marked), 'row', 'hold')} the text of a special token such as"
            f" {marked[0]}, which the model reads as one"
        )
    ends = Counter(chat.load(text)[-1].role for text in chats)
    for role, what in {"user": "a message of the user", "tool": "the result of a tool"}.items():
        if ends[role]:
            yield f"{split}: {ends[role]} chats end with {what}, which has no reply to learn"


def unused_notes(split: str, keys: Iterable[str], what: str) -> Iterator[str]:
    """Yields a line that names keys which are not used, with how many rows have them.

    Args:
        split: name of the split.
        keys: the keys of each row, as JSON lists.
        what: what they are keys of.
    """
    counts = Counter(key for text in keys if text != "[]" for key in json.loads(text))
    if counts:
        named = [f"{key} ({counted(count, 'row')})" for key, count in counts.items()]
        yield f"{split}: {what} not used: {join_limited(named, 20)}"


def bad_notes(split: str, faults: Sequence[str]) -> Iterator[str]:
    """Yields how many rows are left out because they are no chats, and why the first is."""
    if faults:
        yield (
            f"{split}: {counted(len(faults), 'row', 'are')} left out (data.on_bad_chat);"
            f" the first: {faults[0]}"
        )
