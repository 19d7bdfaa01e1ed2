"""Replies in the form of OpenAI: whole ones, and streams of server-sent events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """A reply, or what a stream adds to it.

    Attributes:
        text: its text.
        prompt: tokens of the prompt.
        tokens: its tokens so far.
        end: why it ends: stop, length or tool_calls; empty if it goes on.
        calls: names and arguments of the tools that it calls.
    """

    text: str
    prompt: int
    tokens: int
    end: str = ""
    calls: tuple[tuple[str, str], ...] = ()


class Heading(NamedTuple):
    """What all parts of an answer say: its id, time and run."""

    id: str
    created: int
    model: str


def heading(model: str) -> Heading:
    """A new id, and the time."""
    return Heading(f"chatcmpl-{secrets.token_hex(12)}", int(time.time()), model)


def _calls(reply: Reply, numbered: bool = False) -> list[dict[str, Any]]:
    made = []
    for number, (name, arguments) in enumerate(reply.calls):
        function = {"name": name, "arguments": arguments}
        call = {"id": f"call_{secrets.token_hex(8)}", "type": "function", "function": function}
        made.append({"index": number, **call} if numbered else call)
    return made


def _usage(reply: Reply) -> dict[str, int]:
    total = reply.prompt + reply.tokens
    return {
        "prompt_tokens": reply.prompt,
        "completion_tokens": reply.tokens,
        "total_tokens": total,
    }


def whole(head: Heading, reply: Reply) -> dict[str, Any]:
    """The answer with a whole reply."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.calls:
        message |= {"content": reply.text or None, "tool_calls": _calls(reply)}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.end}
    return {**_outside(head, "chat.completion"), "choices": [choice], "usage": _usage(reply)}


def _outside(head: Heading, kind: str) -> dict[str, Any]:
    return {"id": head.id, "object": kind, "created": head.created, "model": head.model}


def events(head: Heading, reply: Reply, is_first: bool, counts: bool) -> str:
    """What a stream sends for a part of a reply, as server-sent events.

    Args:
        head: what all parts say.
        reply: the part.
        is_first: whether none was sent before.
        counts: whether the usage is sent at the end.
    """
    outside = _outside(head, "chat.completion.chunk")
    deltas: list[tuple[dict[str, Any], str | None]] = []
    if is_first:
        deltas.append(({"role": "assistant", "content": ""}, None))
    if reply.text:
        deltas.append(({"content": reply.text}, None))
    if reply.calls:
        deltas.append(({"tool_calls": _calls(reply, numbered=True)}, None))
    if reply.end:
        deltas.append(({}, reply.end))
    chunks = []
    for delta, end in deltas:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}
        chunks.append({**outside, "choices": [choice], **({"usage": None} if counts else {})})
    if reply.end and counts:
        chunks.append({**outside, "choices": [], "usage": _usage(reply)})
    sent = "".join(event(chunk) for chunk in chunks)
    return sent + "data: [DONE]\n\n" if reply.end else sent


def event(value: Any) -> str:
    r"""A value as a server-sent event.

    >>> event({"a": 1})
    'data: {"a":1}\n\n'
    """
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n"


def fault(line: str, status: int) -> dict[str, Any]:
    """What is wrong, as OpenAI's clients read it."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": line, "type": kind, "param": None, "code": None}}


def models(runs: Mapping[str, Mapping[str, Any]], created: int) -> dict[str, Any]:
    """The runs with what they read, as OpenAI's list of models."""
    data = [model(name, inputs, created) for name, inputs in runs.items()]
    return {"object": "list", "data": data}


def model(name: str, inputs: Mapping[str, Any], created: int) -> dict[str, Any]:
    """A run with what it reads, which OpenAI's clients pass over, as OpenAI's model."""
    whose = {"object": "model", "created": created, "owned_by": "ftlight"}
    return {"id": name, **whose, "inputs": inputs}
