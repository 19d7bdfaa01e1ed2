"""Tools and calls of tools in the shapes of OpenAI, ShareGPT and Hermes, read as OpenAI's."""

from __future__ import annotations

import ast
import json
from typing import Any

from ftlight.utils.errors import UserError


def parsed(value: Any, where: str) -> Any:
    """A cell that may be JSON text, or what pandas writes for a list, as the value it stands for.

    Raises:
        UserError: it is text, but neither.
    """
    if not isinstance(value, str) or not value.strip():
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:  # nested too deep, or thousands of digits
        try:
            return ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            why = ""
            if isinstance(error, json.JSONDecodeError):
                why = f": {error.msg} at column {error.colno}"
            raise UserError(f"{where} is not valid JSON{why}") from None


def without_none(value: Any) -> Any:
    """A value without the keys that hold None, at any depth.

    Parquet gives each struct of a column the keys of all others, None where a row has none.

    >>> without_none([{"city": "Rome", "x": None}, None])
    [{'city': 'Rome'}, None]
    """
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list) else value


def shown(value: Any) -> str:
    """The start of a value as JSON, for errors."""
    return json.dumps(value, ensure_ascii=False, default=str)[:60]


def read_tools(value: Any, where: str) -> list[dict[str, Any]]:
    """The tools of a cell: a list of them or one, as JSON text or not; a bare function is wrapped.

    Raises:
        UserError: it holds something else.

    >>> read_tools('[{"name": "get"}]', "")
    [{'type': 'function', 'function': {'name': 'get'}}]
    """
    value = parsed(value, where)
    if value is None or value != value:  # NaN is missing too
        return []
    tools = []
    for item in value if isinstance(value, list) else [value] if value else []:
        tool = parsed(item, where)
        if not isinstance(tool, dict):
            raise UserError(f'{where} holds {shown(tool)}, expected {{"type": "function", …}}')
        bare = "name" in tool and "function" not in tool and tool.get("type", "") != "custom"
        if bare:
            tool = {key: part for key, part in tool.items() if key != "type"}
        tools.append({"type": "function", "function": tool} if bare else tool)
    return tools


def read_calls(value: Any, where: str) -> list[dict[str, Any]]:
    """Calls of tools: a list of them or one, as JSON text or not; a bare function is wrapped.

    Arguments stay text or an object, as they are.

    Raises:
        UserError: a call has no name.

    >>> read_calls({"name": "get", "arguments": "{}"}, "")
    [{'type': 'function', 'function': {'name': 'get', 'arguments': '{}'}}]
    """
    value = parsed(value, where)
    calls = []
    for item in value if isinstance(value, list) else [value]:
        call = parsed(item, where)
        bare = isinstance(call, dict) and "function" not in call
        function = call if bare else call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not function.get("name"):
            raise UserError(
                f'{where} holds {shown(call)}, expected {{"function": {{"name": …, "arguments": …}}'
            )
        arguments = function.get("arguments", function.get("parameters"))
        named = {"name": str(function["name"]), "arguments": {} if arguments is None else arguments}
        around = {} if bare else {k: v for k, v in call.items() if k not in ("type", "function")}
        calls.append({**around, "type": "function", "function": named})
    return calls


def calls_in(text: str) -> list[dict[str, Any]]:
    """The calls that a text is, as ShareGPT's function_call; none if it is other text.

    >>> calls_in('{"name": "get", "arguments": {}}')
    [{'type': 'function', 'function': {'name': 'get', 'arguments': {}}}]
    >>> calls_in("{}")
    []
    """
    try:
        return read_calls(text, "")
    except UserError:
        return []
