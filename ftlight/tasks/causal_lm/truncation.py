"""Cuts chats at turns to the length a model takes, in training and for a prompt alike."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Sequence
from typing import Any

from ftlight.tasks.causal_lm.chat_template import Sample, Template
from ftlight.tasks.causal_lm.messages import TOOLS, Message


def exchanges(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """Splits a chat into its leading system messages, with its tools, and its exchanges.

    An exchange lasts from a user's turn to the last reply to it, with all calls of tools and their
    results. A greeting of the assistant is an exchange of its own; a last turn without a reply
    belongs to the last exchange.

    >>> roles = ("system", "user", "assistant", "assistant", "user", "assistant")
    >>> system, parts = exchanges([Message(role, role) for role in roles])
    >>> [[m.role for m in part] for part in parts]
    [['user', 'assistant', 'assistant'], ['user', 'assistant']]
    """
    leading = ("system", TOOLS)
    start = next((i for i, m in enumerate(messages) if m.role not in leading), len(messages))
    replies = ("assistant", "tool")
    parts: list[list[Message]] = []
    for i, message in enumerate(messages[start:], start):
        if not parts or (message.role not in replies and messages[i - 1].role in replies):
            parts.append([])
        parts[-1].append(message)
    return list(messages[:start]), parts


def upto_reply(messages: Sequence[Message]) -> tuple[list[Message], str]:
    """Splits off the last reply of a chat; empty if the user has the last word.

    >>> upto_reply([Message("user", "a"), Message("assistant", "b")])
    ([Message(role='user', content='a', in_loss=True, more=mappingproxy({}))], 'b')
    """
    if messages[-1].role != "assistant":
        return list(messages), ""
    return list(messages[:-1]), messages[-1].content


def answered(messages: Sequence[Message]) -> list[Message]:
    """Returns a chat up to its last reply."""
    replies = [i for i, message in enumerate(messages) if message.role == "assistant"]
    return list(messages[: replies[-1] + 1]) if replies else []


def last_turn(messages: Sequence[Message]) -> tuple[list[Message], str]:
    """The messages before the last reply of a chat, and that reply."""
    return upto_reply(answered(messages))


def prompt(template: Template, messages: Sequence[Message], room: int) -> list[int]:
    """Returns the tokens of the prompt for a reply.

    Drops the oldest exchanges until the rest fits; cuts the longest message of the last exchange on
    its left if that alone is too long.

    Args:
        template: Tokenizer and chat template.
        messages: The chat.
        room: The most tokens.
    """
    system, parts = exchanges(messages)

    @functools.cache
    def rest(first: int) -> list[int]:
        return template.tokens(template.text([*system, *_flat(parts[first:])], True))[0]

    def fits(first: int) -> bool:
        return len(rest(first)) <= room

    # the fewer exchanges, the fewer tokens; one after another, long chats would take minutes
    first = 0 if fits(0) else bisect.bisect_left(range(len(parts)), True, lo=1, key=fits)
    if first < len(parts):
        return rest(first)
    short = _shortened(template, [*system, *parts[-1]], room)
    ids, _ = template.tokens(template.text(short, True))
    return ids[-room:]


def _flat(parts: Sequence[list[Message]]) -> list[Message]:
    return [message for part in parts for message in part]


def _shortened(
    template: Template, messages: list[Message], room: int, replied: bool = False
) -> list[Message]:
    """Cuts the longest message on its left, repeatedly, until the prompt fits.

    With ``replied`` the whole exchange is to fit, and its replies are not cut.
    """
    kept = (TOOLS, "assistant") if replied else (TOOLS,)

    def size(number: int) -> int:
        message = messages[number]
        return 0 if message.role in kept else len(message.content)

    for _ in range(8):
        over = template.count(messages, not replied) - room
        i = max(range(len(messages)), key=size)
        content = messages[i].content
        _, places = template.tokens(content)
        if over <= 0 or len(places) < 2 or not size(i):
            break
        rest = content[places[min(over, len(places) - 1)][0] :].lstrip() or content[-1]
        messages = [*messages[:i], messages[i]._replace(content=rest), *messages[i + 1 :]]
    return messages


def samples(template: Template, messages: Sequence[Message], limit: int) -> list[Sample]:
    """Splits a chat at turns into samples of at most ``limit`` tokens.

    Every reply is learned in exactly one sample. Each begins with the system messages and a user's
    turn (the first with the assistant's greeting, if there is one), and has as many earlier turns
    before what it learns as fit. An exchange that is too long alone is cut: its prompt on the left,
    then its reply on the right. What follows the last reply is left out.

    Args:
        template: Tokenizer and chat template.
        messages: The chat, with a reply.
        limit: The most tokens of a sample.
    """
    messages = answered(messages)
    whole = template.encode(messages)
    if len(whole.ids) <= limit:
        return [whole]
    system, parts = exchanges(messages)
    sizes = [template.count([*system, *part]) for part in parts]
    # Tokens before and after every chat, which each of the sizes includes.
    shared = 0
    if len(parts) > 1:
        shared = sizes[0] + sizes[1] - template.count([*system, *parts[0], *parts[1]])
    pieces, first = [], 0
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
        if any(sample.loss_mask):
            pieces.append(sample)
    return pieces or [sample]


def _piece(
    template: Template, system: list[Message], parts: list[list[Message]], place: Any, limit: int
) -> tuple[Sample, int]:
    """Encodes exchanges ``start`` to ``end``, learned from ``first`` on; fewer if they do not fit.

    Returns:
        The sample, and where its exchanges now end.
    """
    start, first, end = place
    while True:
        context = [m._replace(in_loss=False) for m in _flat(parts[start:first])]
        sample = template.encode([*system, *context, *_flat(parts[first:end])])
        if len(sample.ids) <= limit:
            return sample, end
        if start < first:
            start += 1
        elif end > first + 1:
            end -= 1
        else:
            return _cut(template, [*system, *parts[first]], limit), end


def _cut(template: Template, messages: list[Message], limit: int) -> Sample:
    """Cuts a long exchange: its prompt to what the reply leaves, or half; then the reply.

    Results of tools are cut before that, because a reply follows them.
    """
    whole = template.count(messages)
    if any(m.role == "tool" for m in messages):
        messages = _shortened(template, messages, limit, replied=True)
    replied = next(i for i, m in enumerate(messages) if m.role == "assistant")
    before, long = messages[:replied], template.count(messages)
    if before:
        reply = long - template.count(before, True)
        before = _shortened(template, before, max(limit - reply, limit // 2))
    sample = template.encode([*before, *messages[replied:]])
    return Sample(sample.ids[:limit], sample.loss_mask[:limit], whole - min(len(sample.ids), limit))


def windows(tokenizer: Any, text: str, limit: int) -> list[Sample]:
    """Splits a plain text into windows of at most ``limit`` tokens, ended by the end-of-text token.

    Each token but the first is learned once.
    """
    ids = list(tokenizer(text, verbose=False)["input_ids"])
    if tokenizer.eos_token_id is not None and ids[-1:] != [tokenizer.eos_token_id]:
        ids.append(tokenizer.eos_token_id)
    samples = []
    # The last token of a window is also the first of the next, where it is not learned.
    for start in range(0, max(len(ids) - 1, 1), limit - 1):
        window = ids[start : start + limit]
        samples.append(Sample(window, [False, *[True] * (len(window) - 1)]))
    return samples
