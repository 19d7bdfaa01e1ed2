"""Stored chats as columns of samples."""

from __future__ import annotations

from collections.abc import Sequence

from ftlight.data.tables import Columns
from ftlight.tasks.causal_lm import truncation
from ftlight.tasks.causal_lm.chat_template import Sample, Template
from ftlight.tasks.causal_lm.messages import TEXT, load


def encode(
    template: Template, chats: Sequence[str], limit: int, learns_all: bool, trains: bool
) -> Columns:
    """Columns of some chats, lists over the samples of each row.

    Args:
        template: Tokenizer and chat template.
        chats: Chats as they are stored.
        limit: The most tokens of a sample.
        learns_all: Whether all tokens have a loss, not the replies alone.
        trains: Whether each sample is a row of its own; in evaluation each chat is one.
    """
    rows = []
    for text in chats:
        samples = _samples(template, text, limit, learns_all)
        if trains:
            rows += [(text, [sample]) for sample in samples if any(sample.loss_mask)]
        else:
            rows.append((text, samples))
    columns: Columns = {
        "ids": [[s.ids for s in samples] for _, samples in rows],
        "loss_mask": [[s.loss_mask for s in samples] for _, samples in rows],
        "lost": [sum(s.lost for s in samples) for _, samples in rows],
        "pieces": [len(samples) for _, samples in rows],
        "length": [sum(len(s.ids) for s in samples) for _, samples in rows],
    }
    return columns if trains else {**columns, "chat": [text for text, _ in rows]}


def _samples(template: Template, text: str, limit: int, learns_all: bool) -> list[Sample]:
    messages = load(text)
    if messages[0].role == TEXT:
        return truncation.windows(template.tokenizer, messages[0].content, limit)
    samples = truncation.samples(template, messages, limit)
    if not learns_all:
        return samples
    return [s._replace(loss_mask=[False, *[True] * (len(s.ids) - 1)]) for s in samples]
