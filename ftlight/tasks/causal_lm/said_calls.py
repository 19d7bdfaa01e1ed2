"""Calls of tools in what a model wrote, in the form in which its chat template writes them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from ftlight.tasks.causal_lm import calls, dialect
from ftlight.tasks.causal_lm.chat_template import Template
from ftlight.utils.errors import UserError

MOST = 100  # places of a reply that are tried


class Said(NamedTuple):
    """A reply taken apart.

    Attributes:
        content: its text before the calls.
        calls: names of tools, and arguments as JSON.
    """

    content: str
    calls: list[tuple[str, str]]


def find(reply: str, tools: Collection[str], lead: str = "") -> Said:
    """The calls in a reply: values of JSON that name a tool; else all of it is text.

    Args:
        reply: what the model wrote.
        tools: names of the tools that there are.
        lead: what the template writes before a call (see :func:`lead_of`).

    >>> find('Yes. <tool_call>{"name": "get", "arguments": {"q": 1}}', ["get"], "<tool_call>")
    Said(content='Yes.', calls=[('get', '{"q": 1}')])
    >>> find('{"name": "other"}', ["get"])
    Said(content='{"name": "other"}', calls=[])
    """
    found: list[tuple[str, str]] = []
    first, at, decoder = len(reply), 0, json.JSONDecoder()
    for _ in range(MOST):
        begins = [place for sign in "[{" if (place := reply.find(sign, at)) >= 0]
        if not begins:
            break
        at = min(begins)
        try:
            value, end = decoder.raw_decode(reply, at)
            named = [_named(call, tools) for call in calls.read_calls(value, "")]
        except (ValueError, RecursionError, UserError, KeyError):
            at += 1
            continue
        found += named
        first, at = min(first, at), end
    if not found:
        return Said(reply, [])
    content = reply[:first].rstrip()
    return Said(content.removesuffix(lead).rstrip() if lead else content, found)


def _named(call: dict[str, Any], tools: Collection[str]) -> tuple[str, str]:
    """A call as name and arguments.

    Raises:
        KeyError: there is no such tool.
    """
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    if name not in tools:
        raise KeyError(name)
    given = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return name, given.encode("utf-8", "replace").decode()  # a half of a character has no UTF-8


def lead_of(template: Template) -> str:
    """The word that a template writes right before the JSON of a call; empty if there is none."""
    wants = template.wants
    arguments = dialect.OBJECT if wants.objects else dialect.TEXT
    chat = dialect.called(arguments, wants.blank, wants.short_ids)
    try:
        asked = template.rendered(chat[:1], dialect.PROBE_TOOLS, True)
        text = template.rendered(chat, dialect.PROBE_TOOLS)
    except Exception:  # it knows no calls
        return ""
    written = text.removeprefix(asked) if text.startswith(asked) else text
    before = written.partition(dialect.NAME)[0].rpartition("{")[0].split()
    special = template.tokenizer.all_special_tokens
    return before[-1] if before and before[-1] not in special else ""


def names(tools: Sequence[dict[str, Any]]) -> list[str]:
    """Names of tools in OpenAI's form.

    >>> names([{"type": "function", "function": {"name": "get"}}, {"type": "custom"}])
    ['get']
    """
    return [tool["function"]["name"] for tool in tools if "name" in tool.get("function", {})]
