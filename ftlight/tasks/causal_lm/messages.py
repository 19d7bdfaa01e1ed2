"""Chats as people have them, read into messages: OpenAI, ShareGPT, Alpaca, prompt and completion, plain text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.data import files
from ftlight.data.hub import load_hub, read_hub
from ftlight.utils.errors import UserError, did_you_mean, join_limited

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
        content: what is said, without white space around it.
        learned: whether a reply is learned.
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
    have = [c for c in columns if c != files.LINE]
    wanted = {"messages": "messages", "conversations": "conversations", names.prompt: "prompt"}
    found = next(
        (
            kind
            for column, kind in {**wanted, "instruction": "instruction", names.text: "text"}.items()
            if column in have
        ),
        None,
    )
    if found is None:
        raise UserError(
            f"{place}: no chats in columns {join_limited(have, 20)}{next((n for c in have if (n := did_you_mean(c, wanted))), '')}; there must be"
            f" messages, conversations, {names.prompt} and {names.completion} (data.prompt, data.completion), instruction or {names.text}"
        )
    return found


def read(
    row: Mapping[str, Any], kind: str, names: Columns, place: str, replied: bool = True
) -> list[Message]:
    """The messages of a row.

    Args:
        row: columns to values.
        kind: format of the row, as :func:`detect` gives it.
        names: names of columns.
        place: file and line, for errors.
        replied: whether there must be a reply to learn; not so in rows to predict.

    Raises:
        UserError: a role is not known, a message is empty, there is no reply; with the place.
    """
    if kind == "text":
        return [Message("text", _text(row[names.text], place, names.text))]
    if kind in ("messages", "conversations"):
        found = _turns(row[kind], place, kind)
    elif kind == "prompt":
        replies = (
            _turns(row[names.completion], place, names.completion, "assistant")
            if row.get(names.completion) or replied
            else []
        )
        found = [*_turns(row[names.prompt], place, names.prompt), *replies]
    else:
        given = [
            _text(row["instruction"], place, "instruction"),
            _text(row.get("input"), place, "input"),
        ]
        output = next((c for c in OUTPUTS if c in row), None)
        if output is None and replied:
            raise UserError(
                f"{place}: no column output beside instruction (columns: {join_limited(c for c in row if c != files.LINE)})"
            )
        found = [Message("user", "\n\n".join(t for t in given if t))]
        found += (
            [Message("assistant", _text(row[output], place, output))]
            if output and (row[output] or replied)
            else []
        )
    system = _text(row["system"], place, "system") if row.get("system") else ""
    if system and not (found and found[0].role == "system"):
        found.insert(0, Message("system", system))
    _check(found, place, replied)
    return found


def _text(value: Any, place: str, column: str) -> str:
    path, _, line = place.rpartition(":")
    return files.as_text(value, path, int(line), column).strip()


def _turns(value: Any, place: str, column: str, role: str = "user") -> list[Message]:
    """Turns of a cell: a list of them, the same as JSON text, or the text of one."""
    if (
        isinstance(value, str)
        and column in ("messages", "conversations")
        and re.match(r"\s*\[\s*\{", value)
    ):
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
            f'{where} is {json.dumps(item, ensure_ascii=False)[:60]}, expected {{"role": …, "content": …}}'
        )
    said = item.get("role") or item.get("from")
    role = ROLES.get(str(said).lower())
    if role is None:
        raise UserError(
            f"{where}: role {said} is not known{did_you_mean(str(said), ROLES)} (roles: {join_limited(ROLES, 12)})"
        )
    content = item.get("content", item.get("value"))
    if isinstance(content, list):  # OpenAI's parts
        other = sorted(
            {str(p.get("type")) for p in content if isinstance(p, dict) and p.get("type") != "text"}
        )
        if other or not all(isinstance(p, dict) for p in content):
            raise UserError(
                f"{where} holds {join_limited(other) or 'a list'}, only text can be learned"
            )
        content = "\n".join(str(p.get("text", "")) for p in content)
    return Message(role, _text(content, place, column), item.get("weight") not in (0, 0.0))


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


def paragraphs(path: Path, encoding: str) -> Iterator[files.Row]:
    """Texts of a text file: its paragraphs where empty lines divide it, else its lines, each with the line it begins at."""
    filled = "".join("x" if text.strip() else " " for _, text in files.text_lines(path, encoding))
    divided = " " in filled.strip()  # a blank line at the end divides nothing
    for line, text in files.documents(
        files.text_lines(path, encoding), "paragraph" if divided else "line"
    ):
        yield {"text": text, files.LINE: line}


def open_file(name: str, split: str, names: Columns, encoding: str) -> Iterator[files.Row]:
    """Rows of a file or of a split of a hub data set, as they are."""
    if name.startswith("hf:"):
        table = load_hub(name)
        return read_hub(name, split, list(table[split].features) if split in table else [])
    path = files.check(name, f"data.{split}", SUFFIXES)
    if files.suffix(path) == ".txt":
        return (
            {names.text: row["text"], files.LINE: row[files.LINE]}
            for row in paragraphs(path, encoding)
        )
    return files.read(path, encoding)


def read_rows(
    name: str, split: str, names: Columns, encoding: str, digest: str
) -> Iterator[files.Row]:
    """Rows of a split: ``messages`` as JSON (lists of role, content and whether it is learned), their ``format``, the ``line``.

    Raises:
        UserError: a row is no chat; with file and line. Rows without text are left out where it is plain text.
    """
    kind, empty = "", True
    for row in open_file(name, split, names, encoding):
        kind = kind or detect(row, names, name)
        wanted = {"prompt": (names.prompt, names.completion), "text": (names.text,)}
        files.need(row, wanted.get(kind, (kind,)), name)
        messages = read(row, kind, names, f"{name}:{row[files.LINE]}")
        if messages[0].content:
            empty = False
            yield {"messages": dump(messages), "format": kind, "line": row[files.LINE]}
    if empty:
        raise UserError(f"{name} has no rows")


def dump(messages: Sequence[Message]) -> str:
    """Messages as JSON."""
    return json.dumps([list(m) for m in messages], ensure_ascii=False)


def load(text: str) -> list[Message]:
    """Messages of JSON.

    >>> load(dump([Message("user", "hi")]))
    [Message(role='user', content='hi', learned=True)]
    """
    return [Message(*m) for m in json.loads(text)]
