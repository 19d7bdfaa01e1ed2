"""Messages of a chat: what every format is read into, and how a table stores them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "environment"), "tool"),
    **dict.fromkeys(("tool_response", "tool_result", "function_response"), "tool"),
    **dict.fromkeys(("function_call", "tool_call", "tool_calls"), "assistant"),
}
"""What rows call a role, and its usual name in chat templates."""
TOOLS = "tools"
"""Role of a message that says, before all others, which tools there are: its content is JSON."""
TEXT = "text"
"""Role of the one message of a row of plain text."""
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Message(NamedTuple):
    """A turn of a chat.

    Attributes:
        role: system, user, assistant or tool; :data:`TEXT` for a row of plain text, :data:`TOOLS`
            for the tools of a chat.
        content: its text, without white space around it; that of a tool as it is.
        in_loss: whether a reply is trained on.
        more: what else a chat template is given, by key: ``tool_calls`` as in OpenAI's format,
            ``reasoning_content``, ``name`` …; and ``role`` if the row calls it otherwise.
    """

    role: str
    content: str
    in_loss: bool = True
    more: Mapping[str, Any] = NOTHING

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls of tools in this message."""
        return self.more.get("tool_calls", [])


def split_tools(messages: Sequence[Message]) -> tuple[list[dict[str, Any]], list[Message]]:
    """The tools of a chat, and its messages.

    >>> split_tools([Message(TOOLS, '[{"type": "function"}]'), Message("user", "hi")])[0]
    [{'type': 'function'}]
    """
    if messages and messages[0].role == TOOLS:
        return json.loads(messages[0].content), list(messages[1:])
    return [], list(messages)


def names(messages: Sequence[Message]) -> list[str]:
    """A name for the text of each message: its role, and its number if it is not the first.

    Empty if it has no text, or holds tools.

    >>> names([Message("system", "a"), Message("user", "b"), Message("user", "c")])
    ['system', 'user', 'user 2']
    """
    counts = Counter[str]()
    found = []
    for message in messages:
        counts[message.role] += 1
        name = f"{message.role} {counts[message.role]}".removesuffix(" 1")
        found.append(name if message.content and message.role != TOOLS else "")
    return found


def dump(messages: Sequence[Message]) -> str:
    """Messages as JSON: lists of role, content, whether it is trained on, and what else it has."""
    rows = [[*m[:3], dict(m.more)] if m.more else list(m[:3]) for m in messages]
    return json.dumps(rows, ensure_ascii=False)


def load(text: str) -> list[Message]:
    """Messages from what :func:`dump` wrote.

    >>> load(dump([Message("user", "hi", more={"name": "Ann"})]))
    [Message(role='user', content='hi', in_loss=True, more={'name': 'Ann'})]
    """
    return [Message(*m) for m in json.loads(text)]
