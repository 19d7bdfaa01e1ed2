"""Chats in the form of OpenAI: what a body asks."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from ftlight.serve.bodies import Inputs, run_of, value_of
from ftlight.serve.limits import Limits, Refused
from ftlight.tasks.causal_lm import formats, said_calls
from ftlight.tasks.causal_lm.messages import Message
from ftlight.utils.errors import UserError, join_limited, shortened, unknown

EXAMPLE = '{"messages": [{"role": "user", "content": "…"}]}'
OPTIONS = (
    *("model", "messages", "stream", "stream_options", "stop", "seed", "temperature", "top_p"),
    *("max_tokens", "max_completion_tokens", "n", "tools", "tool_choice", "user"),
)
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    **{"logprobs": (False,), "top_logprobs": (0,), "logit_bias": ({},)},
    **{"frequency_penalty": (0,), "presence_penalty": (0,), "response_format": ({"type": "text"},)},
    **{"parallel_tool_calls": (True,), "modalities": (["text"],), "store": (False,)},
    **dict.fromkeys(("functions", "function_call", "audio", "prediction", "reasoning_effort"), ()),
    **dict.fromkeys(("service_tier", "metadata", "verbosity", "web_search_options"), ()),
    **dict.fromkeys(("moderation", "prompt_cache_key", "safety_identifier"), ()),
}
"""Further options of OpenAI, with the values that ask for nothing."""
ROLES = ("system", "developer", "user", "assistant", "tool")
KEYS = (
    *("role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "refusal"),
    *("audio", "function_call", "annotations"),
)
STOPS = 16  # texts that end a reply
HOTTEST = 2.0


class Chat(NamedTuple):
    """A chat to reply to.

    Attributes:
        model: name of the run.
        messages: its messages, with its tools before them.
        tools: names of the tools.
        most: most tokens of the reply; None for those of the run.
        temperature: sampling temperature; None for that of the run.
        top_p: probability mass to sample from; None for that of the run.
        seed: seed of the draws.
        stops: texts that end the reply.
        stream: whether it is sent while it is written.
        counts: whether a stream ends with the usage.
    """

    model: str
    messages: list[Message]
    tools: tuple[str, ...] = ()
    most: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int = 0
    stops: tuple[str, ...] = ()
    stream: bool = False
    counts: bool = False


def read(body: bytes, runs: Mapping[str, Inputs], limits: Limits) -> Chat:
    """What a body asks.

    Raises:
        UserError: it cannot be understood, asks what is not supported, or the run knows no chats.
        Refused: there are too many messages.
    """
    given = value_of(body, EXAMPLE)
    if not isinstance(given, dict) or given.get("messages") is None:
        raise UserError(f"body: expected an object such as {EXAMPLE}")
    given = {name: value for name, value in given.items() if value is not None}
    _check_options(given)
    model = run_of(given.get("model"), runs)
    if not runs[model].chats:
        raise UserError(f"model: {model} knows no chats; runs of CausalLM that learned some do")
    tools = given.get("tools", []) if _choice(given) else []
    messages = _messages(given["messages"], tools, limits)
    most = given.get("max_completion_tokens", given.get("max_tokens"))
    if most is not None and not (_is_whole(most) and 1 <= most <= 10**9):
        raise UserError("max_completion_tokens: expected a whole number from 1 on")
    stream = _flag(given, "stream")
    options = given.get("stream_options", {})
    if not isinstance(options, dict) or set(options) - {"include_usage", "include_obfuscation"}:
        raise UserError('stream_options: expected {"include_usage": true}')
    return Chat(
        model,
        messages,
        tuple(said_calls.names(tools)),
        most,
        _number(given, "temperature", 0, HOTTEST),
        _number(given, "top_p", 0, 1),
        _seed(given),
        _stops(given.get("stop", [])),
        stream,
        stream and _flag(options, "include_usage"),
    )


def _check_options(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name in NEUTRAL and not any(_same(value, nothing) for nothing in NEUTRAL[name]):
            raise UserError(f"{name}: not supported here; leave it out")
        if name not in NEUTRAL and name not in OPTIONS:
            raise UserError(unknown("body: no option", shortened(name), OPTIONS, "options"))
    if not _same(given.get("n", 1), 1):
        raise UserError("n: one reply to a request; ask again, with another seed, for more")


def _same(value: Any, nothing: Any) -> bool:
    return bool(value == nothing) and isinstance(value, bool) == isinstance(nothing, bool)


def _choice(given: Mapping[str, Any]) -> bool:
    """Whether the model is told of tools.

    Raises:
        UserError: it is to be forced to call one.
    """
    choice = given.get("tool_choice", "auto")
    if choice not in ("auto", "none"):
        raise UserError("tool_choice: expected auto or none; a model is not forced to call")
    return bool(choice == "auto")


def _messages(given: Any, tools: Any, limits: Limits) -> list[Message]:
    """The messages, with the tools before them.

    Raises:
        UserError: one cannot be read.
        Refused: there are too many.
    """
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise UserError(f"messages: expected a list such as {EXAMPLE}")
    if len(given) > limits.rows:
        raise Refused(413, f"messages: {len(given):,}; at most {limits.rows:,} in a request")
    if not isinstance(tools, list) or not all(_is_function(tool) for tool in tools):
        raise UserError('tools: expected [{"type": "function", "function": {"name": …}}]')
    for number, item in enumerate(given):
        if item.get("role") not in ROLES:
            expected = f"expected one of {join_limited(ROLES)}"
            raise UserError(f"messages[{number}]: role: {expected}")
        for key, value in item.items():
            if key not in KEYS and value is not None:
                where = f"messages[{number}]: no key"
                raise UserError(unknown(where, shortened(key), KEYS[:6], "keys"))
        if not _are_calls(item.get("tool_calls")):
            form = '[{"id": …, "type": "function", "function": {"name": …, "arguments": "…"}}]'
            raise UserError(f"messages[{number}]: tool_calls: expected {form}")
    row = {"messages": given, "tools": tools}
    return formats.read(row, "messages", formats.Columns(), "body", replied=False)


def _is_function(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _are_calls(calls: Any) -> bool:
    return calls is None or (isinstance(calls, list) and all(map(_is_function, calls)))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise UserError(f"{name}: expected true or false")
    return bool(value)


def _number(given: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    value = given.get(name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (is_number and least <= value <= most):
        raise UserError(f"{name}: expected a number from {least:g} to {most:g}")
    return value


def _seed(given: Mapping[str, Any]) -> int:
    """The seed that is asked for; any if there is none."""
    seed = given.get("seed", secrets.randbits(32))
    if not _is_whole(seed) or not -(2**63) <= seed < 2**63:
        raise UserError("seed: expected a whole number of 64 bits")
    return int(seed)


def _stops(given: Any) -> tuple[str, ...]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise UserError("stop: expected a text or a list of texts, none of them empty")
    if len(texts) > STOPS:
        raise UserError(f"stop: {len(texts):,} texts; at most {STOPS}")
    return tuple(texts)
