"""Where a chat template writes each message, found by rendering a chat with marks in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ftlight.tasks.causal_lm.messages import TOOLS, Message
from ftlight.utils.errors import UserError

# Marks around texts, with the number of their message. Templates trim, escape and change the case
# of what they write, but leave characters of private use alone.
BEGIN, END, CALLED, CLOSE = "\ue000", "\ue001", "\ue002", "\ue003"
MARK = re.compile(f"([{BEGIN}{END}{CALLED}])(\\d+){CLOSE}")
Render = Callable[[Sequence[Message]], str]
Wrap = Callable[[int, str, bool], str]
"""The number of a message, a text of it, and whether that is a name, to what takes its place."""


class Place(NamedTuple):
    """Where a template writes a message.

    Attributes:
        begin: First character of its content, or of the first call's name.
        end: The character after its content, or after the last call's name.
        content: Whether the content is written.
        calls: How many calls are written; of the message of tools, how many tools.
    """

    begin: int
    end: int
    content: bool
    calls: int


Places = dict[int, Place | None]


def find(render: Render, messages: Sequence[Message], text: str) -> Places:
    """Where a rendered chat has each message.

    Args:
        render: Renders messages as text.
        messages: The chat.
        text: What it makes of the chat.

    Returns:
        The place of each message by its number, None if the template leaves it out; without those
        that the template writes otherwise if they are marked, and nothing if the chat has marks.
    """
    if MARK.search(text):  # marks of its own, so none of ours would be told from them
        return {}
    numbers = range(len(messages))
    found = _find(render, messages, text, set(numbers))
    if found is not None:
        return found
    places: Places = {}
    for i in numbers:
        places |= _find(render, messages, text, {i}) or {}
    return places


def _find(
    render: Render,
    messages: Sequence[Message],
    text: str,
    numbers: set[int],
) -> Places | None:
    """Places of some messages; None if marks change what the template writes."""

    def wrap(number: int, part: str, is_name: bool) -> str:
        if number not in numbers:
            return part
        first, last = (CALLED, CALLED) if is_name else (BEGIN, END)
        return f"{first}{number}{CLOSE}{part}{last}{number}{CLOSE}"

    try:
        rendered = render(_wrapped(messages, wrap))
    except UserError:
        return None
    if MARK.sub("", rendered) != text:
        return None
    marks: dict[int, dict[str, list[int]]] = {number: {} for number in numbers}
    removed = 0
    for mark in MARK.finditer(rendered):
        marks[int(mark[2])].setdefault(mark[1], []).append(mark.start() - removed)
        removed += len(mark[0])
    return {number: _place(messages[number], marks[number]) for number in numbers}


def _place(message: Message, marks: dict[str, list[int]]) -> Place | None:
    """The place of a message by where its marks are; None if there are none.

    A template may write a name once more, in the turn of the result: later ones do not count.
    """
    names = marks.get(CALLED, [])[: 2 * max(len(message.calls), 1)]
    content = [*marks.get(BEGIN, [])[:1], *marks.get(END, [])[:1]]
    found = [*content, *names]
    if not found:
        return None
    return Place(min(found), max(found), bool(content), len(marks.get(CALLED, [])) // 2)


def _wrapped(messages: Sequence[Message], wrap: Wrap) -> list[Message]:
    """Messages with their contents and the names of their functions wrapped."""
    made = []
    for i, message in enumerate(messages):
        if message.role == TOOLS:
            tools = [_named(tool, i, wrap) for tool in json.loads(message.content)]
            made.append(message._replace(content=json.dumps(tools, ensure_ascii=False)))
            continue
        content = wrap(i, message.content, False) if message.content else ""
        more = message.more
        if message.calls:
            more = {**more, "tool_calls": [_named(call, i, wrap) for call in message.calls]}
        made.append(message._replace(content=content, more=more))
    return made


def _named(item: dict[str, Any], number: int, wrap: Wrap) -> dict[str, Any]:
    """A tool or a call with the name of its function wrapped."""
    function = item.get("function")
    if not isinstance(function, dict) or "name" not in function:
        return item
    return {**item, "function": {**function, "name": wrap(number, str(function["name"]), True)}}
