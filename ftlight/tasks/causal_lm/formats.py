"""Rows of all usual formats as messages: OpenAI, ShareGPT, Alpaca, prompt and completion."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.data import files
from ftlight.tasks.causal_lm import calls, turns
from ftlight.tasks.causal_lm.messages import TEXT, TOOLS, Message
from ftlight.utils.errors import UserError, did_you_mean, join_limited

OUTPUTS = ("output", "response")
"""Columns of an Alpaca row that may hold the reply."""
FUNCTIONS = "functions"  # OpenAI's older name of tools


class Columns(NamedTuple):
    """Names of the columns of a prompt and its completion, and of plain text."""

    prompt: str = "prompt"
    completion: str = "completion"
    text: str = "text"


def detect(columns: Iterable[str], names: Columns, place: str) -> str:
    """The format of rows by their columns: messages, conversations, prompt, instruction or text.

    Raises:
        UserError: it is none of them.

    >>> detect(["id", "conversations"], Columns(), "chats.jsonl")
    'conversations'
    """
    have = files.names(columns)
    chats = {"messages": "messages", "conversations": "conversations", names.prompt: "prompt"}
    formats = {**chats, "instruction": "instruction", names.text: "text"}
    for column, kind in formats.items():
        if column in have:
            return kind
    hints = (did_you_mean(column, chats) for column in have)
    raise UserError(
        f"{place}: no chats in columns {join_limited(have, 20)}{next(filter(None, hints), '')};"
        f" there must be messages, conversations, {names.prompt} and {names.completion}"
        f" (data.prompt, data.completion), instruction or {names.text}"
    )


def unused(row: Mapping[str, Any], kind: str, names: Columns) -> list[str]:
    """Columns of a row that hold something, but nothing that is read.

    >>> unused({"id": 7, "text": "a", "source": None}, "text", Columns())
    ['id']
    """
    if kind == "text":
        used: tuple[str, ...] = (names.text,)
    elif kind == "prompt":
        used = (names.prompt, names.completion, "history")
    elif kind == "instruction":
        output = next((column for column in OUTPUTS if column in row), OUTPUTS[0])
        used = ("instruction", "input", output, "history")
    else:
        used = (kind,)
    if kind != "text":
        used += ("system", TOOLS, FUNCTIONS)
    roots = {column.partition(".")[0] for column in used}  # dotted ones are taken out of objects
    rest = (column for column in files.names(row) if column not in {*used, *roots})
    return [column for column in rest if row[column] not in (None, "", [], {})]


def read(
    row: Mapping[str, Any], kind: str, names: Columns, place: str, replied: bool = True
) -> list[Message]:
    """The messages of a row.

    Args:
        row: columns to values.
        kind: format of the row, as :func:`detect` gives it.
        names: names of columns.
        place: file and line, for errors.
        replied: whether there must be a reply to train on; not so in rows to predict.

    Raises:
        UserError: a role is unknown, a message is empty, or there is no reply.
    """
    if kind == "text":
        return [Message(TEXT, turns.text(row[names.text], place, names.text))]
    if kind in turns.NESTED:
        messages = turns.read_turns(row[kind], place, kind)
    elif kind == "prompt":
        messages = _completed(row, names, place, replied)
    else:
        messages = _alpaca(row, place, replied)
    system = turns.text(row["system"], place, "system") if row.get("system") else ""
    if system and not (messages and messages[0].role == "system"):
        messages.insert(0, Message("system", system))
    tools, messages = _tools(row, messages, place)
    _check(messages, place, replied)
    return [*tools, *messages]


def _completed(row: Mapping[str, Any], names: Columns, place: str, replied: bool) -> list[Message]:
    """A prompt, which may be several turns, and its completion, which alone is trained on."""
    before = [*_history(row, place), *turns.read_turns(row[names.prompt], place, names.prompt)]
    messages = [m._replace(in_loss=False) if m.role == "assistant" else m for m in before]
    if row.get(names.completion) or replied:
        messages += turns.read_turns(row[names.completion], place, names.completion, "assistant")
    return messages


def _alpaca(row: Mapping[str, Any], place: str, replied: bool) -> list[Message]:
    """The turns before, an instruction with its input, and the output."""
    asked = [turns.text(row.get(c), place, c) for c in ("instruction", "input")]
    messages = [*_history(row, place), Message("user", "\n\n".join(filter(None, asked)))]
    output = next((column for column in OUTPUTS if column in row), None)
    if output is None and replied:
        raise UserError(
            f"{place}: no column output beside instruction"
            f" (columns: {join_limited(files.names(row))})"
        )
    if output and (row[output] or replied):
        messages.append(Message("assistant", turns.text(row[output], place, output)))
    return messages


def _history(row: Mapping[str, Any], place: str) -> list[Message]:
    """Alpaca's earlier turns: pairs of what was asked and replied, or messages."""
    where = f"{place}: column history"
    pairs = calls.parsed(row.get("history"), where)
    messages: list[Message] = []
    if not pairs or pairs != pairs:
        return messages
    for i, pair in enumerate(pairs if isinstance(pairs, list) else [pairs]):
        if isinstance(pair, dict) and {"role", "from"} & set(pair):
            messages.append(turns.read_turn(pair, f"{place}: history[{i}]", place, "history"))
        elif isinstance(pair, (list, tuple)) and len(pair) == 2:
            both = zip(("user", "assistant"), pair, strict=True)
            messages += [Message(role, turns.text(said, place, "history")) for role, said in both]
        else:
            raise UserError(
                f"{place}: history[{i}] is {calls.shown(pair)}, expected [question, reply]"
            )
    return messages


def _tools(
    row: Mapping[str, Any], messages: list[Message], place: str
) -> tuple[list[Message], list[Message]]:
    """The message that says which tools there are, if any, and the others.

    Tools stand in a column, or in the first message, where GLM's format has them.
    """
    given = row.get(TOOLS) or row.get(FUNCTIONS)
    first = messages[0] if messages else None
    if not given and first is not None and first.role == "system" and TOOLS in first.more:
        given = first.more[TOOLS]
        more = {key: value for key, value in first.more.items() if key != TOOLS}
        messages = [first._replace(more=more)] * bool(first.content) + messages[1:]
    tools = calls.read_tools(given, f"{place}: column {TOOLS}")
    return [Message(TOOLS, json.dumps(tools, ensure_ascii=False))] if tools else [], messages


def _check(messages: Sequence[Message], place: str, replied: bool) -> None:
    for i, message in enumerate(messages):
        if not (message.content or message.calls or message.role == "tool"):
            raise UserError(
                f"{place}: message {i + 1} ({message.role}) is empty; fill it in or take it out"
            )
    if replied and not any(m.role == "assistant" and m.in_loss for m in messages):
        raise UserError(
            f"{place}: a chat without a reply of the assistant: there is nothing to learn"
        )
    if not any(m.role == "user" for m in messages) and not replied:
        raise UserError(
            f"{place}: a chat without a message of the user: there is nothing to reply to"
        )
