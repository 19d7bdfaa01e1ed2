"""What the data of chats are made of, and what is cut or unusual: a line for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import datasets

from ftlight.tasks.causal_lm import chat_template
from ftlight.tasks.causal_lm import messages as chat


def format_note(kind: str, template: chat_template.Template, ends: Sequence[int]) -> str:
    """How rows become samples to train on: their format, the template, what ends a reply."""
    if kind == "text":
        return "plain text, all of it is learned"
    same = chat_template.own(template.tokenizer) == template.source
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
        yield f"{split}: {len(table):,} rows are cut into {pieces:,} samples{turns}"
    lost = [count for count in encoded["lost"][:] if count]
    if lost:
        share = sum(lost) / (sum(lost) + sum(encoded["length"][:]))
        yield (
            f"{split}: {len(lost)} turns are longer than {limit} tokens and cut"
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
            f"{split}: {len(marked)} rows hold the text of a special token such as {marked[0]},"
            " which the model reads as one"
        )
    unanswered = sum(chat.load(text)[-1].role == "user" for text in chats)
    if unanswered:
        yield (
            f"{split}: {unanswered} chats end with a message of the user,"
            " which has no reply to learn"
        )
