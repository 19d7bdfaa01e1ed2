"""What a chat template wants to be given: found by rendering a call of a tool in several shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ftlight.tasks.causal_lm.messages import Message, split_tools

Given = list[dict[str, Any]]
Render = Callable[[Given, Given], str]
"""Renders messages and tools; raises what a template raises."""
NAME, VALUE = "\ue010", "\ue011"  # found again in what a template writes, escaped or not
FUNCTION = {
    "name": "get",
    "description": "Gets it.",
    "parameters": {
        "type": "object",
        "properties": {"q": {"type": "string", "description": "It."}},
        "required": ["q"],
    },
}
PROBE_TOOLS: Given = [{"type": "function", "function": FUNCTION}]
OBJECT = {"q": VALUE}
TEXT = json.dumps(OBJECT, ensure_ascii=False)
LONG_ID, SHORT_ID = "call_0123456789", "abcdefghi"


class Dialect(NamedTuple):
    """How a template wants calls of tools.

    Attributes:
        roles: the roles that it names.
        blank: the content of a message that is nothing but calls: empty text, or none at all.
        objects: whether it writes arguments that are an object.
        texts: whether it writes arguments that are JSON text as they are.
        short_ids: whether it refuses all ids but those of nine characters, as Mistral's do.
    """

    roles: frozenset[str] = frozenset()
    blank: str | None = ""
    objects: bool = True
    texts: bool = False
    short_ids: bool = False


def probe(render: Render, source: str) -> Dialect:
    """The dialect of a template, which is rendered with a call in each shape that is usual.

    Args:
        render: the template.
        source: its text.
    """
    roles = named_roles(source)
    for short_ids in (False, True):
        for blank in ("", None):
            objects = _writes(render, OBJECT, blank, short_ids)
            texts = _writes(render, TEXT, blank, short_ids)
            if objects or texts:
                return Dialect(roles, blank, objects, texts, short_ids)
    return Dialect(roles)


def named_roles(source: str) -> frozenset[str]:
    """The roles that a template compares with.

    >>> sorted(named_roles("{% if m['role'] == 'tool' or m.role in ['user', 'system'] %}"))
    ['system', 'tool', 'user']
    """
    role, word = r"""role['"]?\]?\s*""", r"""['"](\w+)['"]"""
    compared = re.findall(rf"{role}[!=]=\s*{word}", source)
    for listed in re.findall(rf"{role}(?:not\s+)?in\s*[\[(](.*?)[\])]", source):
        compared += re.findall(word, listed)
    return frozenset(compared)


def called(arguments: Any, blank: str | None, short_ids: bool) -> Given:
    """A chat with a call, in OpenAI's format."""
    function = {"name": NAME, "arguments": arguments}
    call = {"id": SHORT_ID if short_ids else LONG_ID, "type": "function", "function": function}
    return [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": blank, "tool_calls": [call]},
    ]


def _writes(render: Render, arguments: Any, blank: str | None, short_ids: bool) -> bool:
    """Whether a template writes a call with these arguments, as JSON or in a form of its own."""
    try:
        text = render(called(arguments, blank, short_ids), PROBE_TOOLS)
    except Exception:  # whatever a template raises
        return False
    name, _, rest = text.rpartition(NAME)
    if not name or VALUE not in rest:
        return False
    if isinstance(arguments, str):
        return arguments in rest  # not as text within text
    return "{'q'" not in rest  # not as Python writes it


def given(dialect: Dialect, messages: Sequence[Message]) -> tuple[Given, Given]:
    """Messages and tools as a template of this dialect wants them."""
    tools, messages = split_tools(messages)
    short = _short_ids(messages) if dialect.short_ids else {}
    waiting: list[str] = []  # ids of calls whose result is still to come
    made = []
    for number, message in enumerate(messages):
        more = {key: value for key, value in message.more.items() if key != "role"}
        role = message.more.get("role", message.role)
        turn = {"role": role if role in dialect.roles else message.role, "content": message.content}
        if message.calls:
            more["tool_calls"] = [_call(call, dialect) for call in message.calls]
            turn["content"] = message.content or dialect.blank
        if dialect.short_ids and message.calls:
            ids = [short[call.get("id") or f"{number}.{i}"] for i, call in enumerate(message.calls)]
            for call, identifier in zip(more["tool_calls"], ids, strict=True):
                call["id"] = identifier
            waiting += ids
        elif dialect.short_ids and message.role == "tool":
            found = short.get(str(more.get("tool_call_id")))
            more["tool_call_id"] = found or (waiting[0] if waiting else SHORT_ID)
            waiting = [identifier for identifier in waiting if identifier != more["tool_call_id"]]
        made.append({**turn, **more})
    return made, tools


def _call(call: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    """A call with its arguments as text or object."""
    function = dict(call["function"])
    arguments = function["arguments"]
    if isinstance(arguments, str) and not dialect.texts:
        try:
            function["arguments"] = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            pass  # a call that was never valid is written as it is
    elif not isinstance(arguments, str) and not dialect.objects:
        function["arguments"] = json.dumps(arguments, ensure_ascii=False)
    return {**call, "function": function}


def _short_ids(messages: Sequence[Message]) -> dict[str, str]:
    """An id of nine letters and digits for each call, by its own id, or by its place without one.

    Those that have nine already stay.
    """
    ids: dict[str, str] = {}
    for number, message in enumerate(messages):
        for i, call in enumerate(message.calls):
            own = str(call.get("id") or f"{number}.{i}")
            ids[own] = own if re.fullmatch(r"[a-zA-Z0-9]{9}", own) else f"call{len(ids):05}"
    return ids
