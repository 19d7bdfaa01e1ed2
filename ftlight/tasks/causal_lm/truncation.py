"""Chats cut at turns to the length a model takes, the same way in training and before a reply is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftlight.tasks.causal_lm.chat_template import Sample, Template
from ftlight.tasks.causal_lm.messages import Message


def exchanges(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """Divides a chat into the system messages at its start and its exchanges, each from a user's turn to the last reply to it.

    A greeting of the assistant is an exchange of its own; a last turn without a reply belongs to the last one.

    >>> system, parts = exchanges([Message(r, r) for r in ("system", "user", "assistant", "assistant", "user", "assistant")])
    >>> [[m.role for m in part] for part in parts]
    [['user', 'assistant', 'assistant'], ['user', 'assistant']]
    """
    start = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    parts: list[list[Message]] = []
    for i, message in enumerate(messages[start:], start):
        if not parts or (message.role != "assistant" and messages[i - 1].role == "assistant"):
            parts.append([])
        parts[-1].append(message)
    return list(messages[:start]), parts


def upto_reply(messages: Sequence[Message]) -> tuple[list[Message], str]:
    """A chat before its last reply, and that reply; all of it and nothing where the user has the last word.

    >>> upto_reply([Message("user", "a"), Message("assistant", "b")])
    ([Message(role='user', content='a', learned=True)], 'b')
    """
    if messages[-1].role != "assistant":
        return list(messages), ""
    return list(messages[:-1]), messages[-1].content


def answered(messages: Sequence[Message]) -> list[Message]:
    """A chat up to its last reply."""
    return list(
        messages[
            : 1 + max((i for i, m in enumerate(messages) if m.role == "assistant"), default=-1)
        ]
    )


def prompt(template: Template, messages: Sequence[Message], room: int) -> list[int]:
    """The tokens that a reply follows: the oldest turns are dropped until they fit, then the longest message is cut at its left.

    Args:
        template: tokenizer and chat template.
        messages: the chat.
        room: the most tokens.
    """
    system, parts = exchanges(messages)
    for i in range(len(parts)):
        ids, _ = template.tokens(
            template.text([*system, *(m for part in parts[i:] for m in part)], True)
        )
        if len(ids) <= room:
            return ids
    return template.tokens(template.text(_shortened(template, [*system, *parts[-1]], room), True))[
        0
    ][-room:]


def _shortened(template: Template, messages: list[Message], room: int) -> list[Message]:
    """Cuts the longest message at its left, and again, until the prompt fits."""
    for _ in range(8):
        over = template.count(messages, True) - room
        i = max(range(len(messages)), key=lambda n: len(messages[n].content))
        content = messages[i].content
        _, places = template.tokens(content)
        if over <= 0 or len(places) < 2:
            break
        rest = content[places[min(over, len(places) - 1)][0] :].lstrip() or content[-1]
        messages = [*messages[:i], messages[i]._replace(content=rest), *messages[i + 1 :]]
    return messages


def samples(template: Template, messages: Sequence[Message], limit: int) -> list[Sample]:
    """A chat in pieces of at most ``limit`` tokens, cut at turns; every reply is learned in exactly one of them.

    Each piece begins with the system messages and a turn of the user (the first with the greeting, if the assistant begins);
    before what it is to learn it has as many of the turns before as fit. An exchange that is too long alone is cut: its
    prompt at the left, then its reply at the right. What follows the last reply is left out.

    Args:
        template: tokenizer and chat template.
        messages: the chat, with a reply.
        limit: the most tokens of a piece.
    """
    messages = answered(messages)
    whole = template.encode(messages)
    if len(whole.ids) <= limit:
        return [whole]
    system, parts = exchanges(messages)
    sizes = [template.count([*system, *part]) for part in parts]
    # what stands before and after every chat, and is in each of the sizes
    shared = (
        sizes[0] + sizes[1] - template.count([*system, *parts[0], *parts[1]])
        if len(parts) > 1
        else 0
    )
    found, first = [], 0
    while first < len(parts):
        end, total = first + 1, sizes[first]
        while end < len(parts) and total + sizes[end] - shared <= limit:
            total += sizes[end] - shared
            end += 1
        start = first
        while start > 0 and total + sizes[start - 1] - shared <= limit:
            start -= 1
            total += sizes[start] - shared
        sample, first = _piece(template, system, parts, (start, first, end), limit)
        if any(sample.learned):
            found.append(sample)
    return found or [sample]


def _piece(
    template: Template, system: list[Message], parts: list[list[Message]], place: Any, limit: int
) -> tuple[Sample, int]:
    """Exchanges from ``start`` to ``end``, learned from ``first`` on, fewer where they do not fit; and where they now end."""
    start, first, end = place
    while True:
        context = [m._replace(learned=False) for part in parts[start:first] for m in part]
        sample = template.encode(
            [*system, *context, *(m for part in parts[first:end] for m in part)]
        )
        if len(sample.ids) <= limit:
            return sample, end
        if start < first:
            start += 1
        elif end > first + 1:
            end -= 1
        else:
            return _cut(template, [*system, *parts[first]], limit), end


def _cut(template: Template, messages: list[Message], limit: int) -> Sample:
    """An exchange that is too long: its prompt is cut to what the reply leaves, or half the room, then the reply."""
    replied = next(i for i, m in enumerate(messages) if m.role == "assistant")
    before, whole = messages[:replied], template.count(messages)
    if before:
        reply = whole - template.count(before, True)
        before = _shortened(template, before, max(limit - reply, limit // 2))
    sample = template.encode([*before, *messages[replied:]])
    return Sample(sample.ids[:limit], sample.learned[:limit], whole - min(len(sample.ids), limit))


def windows(tokenizer: Any, text: str, limit: int) -> list[Sample]:
    """A plain text in windows of at most ``limit`` tokens, the end-of-text token behind it; each token but the first is learned once."""
    ids = list(tokenizer(text, verbose=False)["input_ids"])
    if tokenizer.eos_token_id is not None and ids[-1:] != [tokenizer.eos_token_id]:
        ids.append(tokenizer.eos_token_id)
    starts = range(
        0, max(len(ids) - 1, 1), limit - 1
    )  # a token of two windows is the first of the second
    return [
        Sample(ids[s : s + limit], [False, *[True] * (len(ids[s : s + limit]) - 1)]) for s in starts
    ]
