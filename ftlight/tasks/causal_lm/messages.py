"""Chats in all usual formats, read as messages: OpenAI, ShareGPT, Alpaca, prompt and completion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.data import files
from ftlight.data.sources import Source
from ftlight.utils.errors import UserError, did_you_mean, join_limited, unknown

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
}
OUTPUTS = ("output", "response")
"""Columns of an Alpaca row that may hold the reply."""
SUFFIXES = (*files.SUFFIXES, ".txt")


class Message(NamedTuple):
    """A turn of a chat.

    Attributes:
        role: system, user or assistant; text for a row of plain text.
        content: its text, without white space around it.
        learned: whether a reply is trained on.
    """

    role: str
    content: str
    learned: bool = True


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
        return [Message("text", _text(row[names.text], place, names.text))]
    if kind in ("messages", "conversations"):
        messages = _turns(row[kind], place, kind)
    elif kind == "prompt":
        messages = _turns(row[names.prompt], place, names.prompt)
        if row.get(names.completion) or replied:
            messages += _turns(row[names.completion], place, names.completion, "assistant")
    else:
        messages = _alpaca(row, place, replied)
    system = _text(row["system"], place, "system") if row.get("system") else ""
    if system and not (messages and messages[0].role == "system"):
        messages.insert(0, Message("system", system))
    _check(messages, place, replied)
    return messages


def _alpaca(row: Mapping[str, Any], place: str, replied: bool) -> list[Message]:
    """An instruction with its input, and the output."""
    asked = [_text(row.get(c), place, c) for c in ("instruction", "input")]
    messages = [Message("user", "\n\n".join(filter(None, asked)))]
    output = next((column for column in OUTPUTS if column in row), None)
    if output is None and replied:
        raise UserError(
            f"{place}: no column output beside instruction"
            f" (columns: {join_limited(files.names(row))})"
        )
    if output and (row[output] or replied):
        messages.append(Message("assistant", _text(row[output], place, output)))
    return messages


def _text(value: Any, place: str, column: str) -> str:
    path, _, line = place.rpartition(":")
    return files.as_text(value, path, int(line), column).strip()


def _turns(value: Any, place: str, column: str, role: str = "user") -> list[Message]:
    """Turns of a cell: a list of them, the same as JSON text, or the text of one."""
    nested = column in ("messages", "conversations")
    if nested and isinstance(value, str) and re.match(r"\s*\[\s*\{", value):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{place}: column {column} is not valid JSON: {error.msg} at column {error.colno}"
            ) from None
    if not isinstance(value, list):
        return [Message(role, _text(value, place, column))]
    return [_turn(item, f"{place}: {column}[{i}]", place, column) for i, item in enumerate(value)]


def _turn(item: Any, where: str, place: str, column: str) -> Message:
    if not isinstance(item, dict) or not {"role", "from"} & set(item):
        raise UserError(
            f"{where} is {json.dumps(item, ensure_ascii=False)[:60]},"
            ' expected {"role": …, "content": …}'
        )
    name = item.get("role") or item.get("from")
    role = ROLES.get(str(name).lower())
    if role is None:
        raise UserError(unknown(f"{where}: unknown role", name, ROLES, "roles"))
    content = item.get("content", item.get("value"))
    if isinstance(content, list):
        content = _parts(content, where)
    return Message(role, _text(content, place, column), item.get("weight") not in (0, 0.0))


def _parts(parts: list[Any], where: str) -> str:
    """The text of OpenAI's content parts."""
    kinds = {str(part.get("type")) for part in parts if isinstance(part, dict)} - {"text"}
    if kinds or not all(isinstance(part, dict) for part in parts):
        raise UserError(
            f"{where} holds {join_limited(sorted(kinds)) or 'a list'}, only text can be learned"
        )
    return "\n".join(str(part.get("text", "")) for part in parts)


def _check(messages: Sequence[Message], place: str, replied: bool) -> None:
    for i, message in enumerate(messages):
        if not message.content:
            raise UserError(
                f"{place}: message {i + 1} ({message.role}) is empty; fill it in or take it out"
            )
    if replied and not any(m.role == "assistant" and m.learned for m in messages):
        raise UserError(
            f"{place}: a chat without a reply of the assistant: there is nothing to learn"
        )
    if not any(m.role == "user" for m in messages) and not replied:
        raise UserError(
            f"{place}: a chat without a message of the user: there is nothing to reply to"
        )


# Files


def _paragraphs(source: Source, column: str) -> Iterator[files.Row]:
    """Texts of a text file: its paragraphs if blank lines divide it, else its lines."""
    path, encoding = source.path, source.encoding
    filled = "".join("x" if text.strip() else " " for _, text in files.text_lines(path, encoding))
    divided = " " in filled.strip()  # a blank line at the end divides nothing
    lines = files.text_lines(path, encoding)
    for line, text in files.documents(lines, "paragraph" if divided else "line"):
        yield {column: text, files.LINE: line}


def open_rows(source: Source, names: Columns) -> Iterator[files.Row]:
    """Rows of a split with the columns they have."""
    if source.suffix == ".txt":
        return _paragraphs(source, names.text)
    if source.on_hub:
        return source.rows(source.columns())
    return source.read(optional=[name for name in names if name])


def read_rows(source: Source, names: Columns, digest: str) -> Iterator[files.Row]:
    """Yields the rows of a split; rows of plain text without text are left out.

    Yields:
        ``messages`` as JSON (see :func:`dump`), their ``format`` and the ``line``.

    Raises:
        UserError: a row is no chat; names file and line.
    """
    kind, empty = "", True
    for row in open_rows(source, names):
        kind = kind or detect(row, names, source.name)
        wanted = {"prompt": (names.prompt, names.completion), "text": (names.text,)}
        files.need(row, wanted.get(kind, (kind,)), source.name)
        messages = read(row, kind, names, f"{source.name}:{row[files.LINE]}")
        if messages[0].content:
            empty = False
            yield {"messages": dump(messages), "format": kind, "line": row[files.LINE]}
    if empty:
        raise UserError(f"{source.name} has no rows")


def dump(messages: Sequence[Message]) -> str:
    """Messages as JSON: lists of role, content and whether it is learned."""
    return json.dumps([list(m) for m in messages], ensure_ascii=False)


def load(text: str) -> list[Message]:
    """Messages from what :func:`dump` wrote.

    >>> load(dump([Message("user", "hi")]))
    [Message(role='user', content='hi', learned=True)]
    """
    return [Message(*m) for m in json.loads(text)]
