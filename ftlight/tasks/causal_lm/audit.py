"""Whether a chat template can say a chat, and which keys of its messages it does not use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from ftlight.data.tables import Columns
from ftlight.tasks.causal_lm import places
from ftlight.tasks.causal_lm.chat_template import Template
from ftlight.tasks.causal_lm.messages import TOOLS, Message, load
from ftlight.utils.errors import UserError


class Audit(NamedTuple):
    """What a template makes of a chat.

    Attributes:
        fault: Why the template cannot say it; empty if it can.
        unused: Keys of its messages that the template does not use.
    """

    fault: str = ""
    unused: tuple[str, ...] = ()


def audit(template: Template, messages: Sequence[Message]) -> Audit:
    """Renders a chat, and looks for what the template leaves out.

    Args:
        template: Tokenizer and chat template.
        messages: The chat.
    """
    text, found = _rendered(template.text, messages)
    return Audit(found, () if text is None else _unused(template, messages, text))


def fault(template: Template, messages: Sequence[Message]) -> str:
    """Says why a template cannot say a chat that the model is to reply to; empty if it can.

    Args:
        template: Tokenizer and chat template.
        messages: The chat.
    """
    return _rendered(template.prompt, messages)[1]


def _rendered(render: places.Render, messages: Sequence[Message]) -> tuple[str | None, str]:
    """The text of a chat, None if the template cannot say it, and what is wrong with it."""
    try:
        text = render(messages)
    except UserError as error:
        return None, str(error)
    return text, _left_out(messages, places.find(render, messages, text))


def _left_out(messages: Sequence[Message], where: places.Places) -> str:
    """What a template leaves out of a chat, by where it writes the messages."""
    numbered = enumerate(messages, 0 if messages[0].role == TOOLS else 1)
    for (number, message), i in zip(numbered, range(len(messages)), strict=True):
        if i in where and (lost := _lost(message, where[i])):
            of = "" if message.role == TOOLS else f" of message {number} ({message.role})"
            # Mistral's write a system message only into a last message of the user
            hint = "; put it into the first message of the user" if message.role == "system" else ""
            return f"the model's chat template leaves out {lost}{of}{hint}"
    return ""


def _lost(message: Message, place: places.Place | None) -> str:
    """What of a message a template leaves out; empty if it writes all."""
    place = place or places.Place(0, 0, False, 0)
    if message.role == TOOLS:
        functions = [tool for tool in json.loads(message.content) if "function" in tool]
        return "the tools" if place.calls < len(functions) else ""
    if place.calls < len(message.calls):
        return "tool_calls"
    if message.content.strip() and not place.content:
        return "the content beside tool_calls" if message.calls else "the content"
    return ""


def _unused(template: Template, messages: Sequence[Message], text: str) -> tuple[str, ...]:
    """Keys of messages without which the template writes the same."""
    keys = dict.fromkeys(key for message in messages for key in message.more)
    unused = []
    for key in keys:
        if key in ("role", "tool_calls"):
            continue
        without = []
        for message in messages:
            more = {name: value for name, value in message.more.items() if name != key}
            without.append(message._replace(more=more))
        try:
            same = template.text(without) == text
        except UserError:  # it needs the key
            same = False
        if same:
            unused.append(key)
    return tuple(unused)


def audited(template: Template, chats: Sequence[str]) -> Columns:
    """The audits of stored chats as columns: ``fault``, and ``unused`` as JSON."""
    audits = [audit(template, load(text)) for text in chats]
    unused = [json.dumps(a.unused, ensure_ascii=False) for a in audits]
    return {"fault": [a.fault for a in audits], "unused": unused}


def way_out(template_is_plain: bool) -> str:
    """What a user can do about a fault."""
    skip = "data.on_bad_chat: skip leaves such rows out"
    return f" ({skip})" if template_is_plain else f" (data.template: plain can say it; {skip})"
