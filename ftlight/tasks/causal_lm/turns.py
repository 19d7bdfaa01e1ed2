"""Lists of turns as OpenAI and ShareGPT write them, and the text of a cell, as messages."""

from __future__ import annotations

import json
import re
from typing import Any

from ftlight.data import files
from ftlight.tasks.causal_lm import calls
from ftlight.tasks.causal_lm.messages import ROLES, Message
from ftlight.utils.errors import UserError, join_limited, unknown

CALLS = ("function_call", "tool_call", "tool_calls")
"""Roles of a message that is a call of tools."""
NESTED = ("messages", "conversations")
CONTENT = ("role", "from", "content", "value", "weight")
"""Keys of a message that are read; all others are handed to the chat template."""


def text(value: Any, place: str, column: str) -> str:
    """A cell as text, without white space around it."""
    return files.text_at(value, place, column).strip()


def read_turns(value: Any, place: str, column: str, role: str = "user") -> list[Message]:
    """Turns of a cell: a list of them, the same as JSON text, or the text of one."""
    if isinstance(value, str) and re.match(r"\s*\[\s*\{", value):
        try:
            found = calls.parsed(value, f"{place}: column {column}")
        except UserError:
            if column in NESTED:
                raise
            found = None
        if column in NESTED or _all_turns(found):
            value = found
    if _all_turns([value]):
        value = [value]
    if not isinstance(value, list):
        return [Message(role, text(value, place, column))]
    return [
        read_turn(item, f"{place}: {column}[{i}]", place, column) for i, item in enumerate(value)
    ]


def _all_turns(value: Any) -> bool:
    """Whether a value is a list of messages."""
    return isinstance(value, list) and all(
        isinstance(item, dict) and {"role", "from"} & set(item) for item in value
    )


def read_turn(item: Any, where: str, place: str, column: str) -> Message:
    """A turn as a message; all its further keys are kept for the chat template.

    Args:
        item: The turn.
        where: File, line, column and number of it, for errors.
        place: File and line.
        column: The column.

    Raises:
        UserError: It is no turn, or its role is unknown.
    """
    if not _all_turns([item]):
        raise UserError(f'{where} is {calls.shown(item)}, expected {{"role": …, "content": …}}')
    name = str(item.get("role") or item.get("from")).lower()
    role = ROLES.get(name)
    if role is None:
        raise UserError(unknown(f"{where}: unknown role", name, ROLES, "roles"))
    more = {k: v for k, v in item.items() if k not in CONTENT and v not in (None, "", [], {})}
    if "function_call" in more:  # OpenAI's older name
        more["tool_calls"] = more.pop("function_call")
    if "tool_calls" in more:
        more["tool_calls"] = calls.read_calls(more["tool_calls"], f"{where}.tool_calls")
    content = _content(item.get("content", item.get("value")), where, role)
    said = content if role == "tool" else text(content, place, column)
    if name in CALLS and (found := calls.calls_in(said)):
        said, more["tool_calls"] = "", found
    if name != role and role in ("system", "tool"):
        more["role"] = name
    return Message(role, said, item.get("weight") not in (0, 0.0), more)


def _content(value: Any, where: str, role: str) -> Any:
    """The text of a message; what a tool returned may be any value."""
    if isinstance(value, list) and (role != "tool" or all(map(_is_part, value))):
        return _parts(value, where)
    if role != "tool":
        return value
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and "type" in value


def _parts(parts: list[Any], where: str) -> str:
    """The text of OpenAI's content parts."""
    kinds = {str(part.get("type")) for part in parts if isinstance(part, dict)} - {"text"}
    if kinds or not all(isinstance(part, dict) for part in parts):
        raise UserError(
            f"{where} holds {join_limited(sorted(kinds)) or 'a list'}, only text can be learned"
        )
    return "\n".join(str(part.get("text", "")) for part in parts)
