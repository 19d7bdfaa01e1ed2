"""A model that a person talks to, and the chat so far."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.models import kernels, weights
from ftlight.run import records
from ftlight.task import Task
from ftlight.tasks.causal_lm import speaking
from ftlight.tasks.causal_lm.data import ChatData
from ftlight.tasks.causal_lm.generating import Drawing, Kept
from ftlight.tasks.causal_lm.messages import Message
from ftlight.tasks.causal_lm.speaking import How, Piece
from ftlight.tasks.causal_lm.task import CausalLM
from ftlight.utils.errors import UserError


class Talker(NamedTuple):
    """A model, and what it has read.

    Attributes:
        name: what it is called, if there are several.
        model: the model.
        data: gives tokenizer and template.
        kept: what it has read, kept from turn to turn.
    """

    name: str
    model: Any
    data: ChatData
    kept: Kept


def of(task: Task, path: str, run: Path, with_base: bool) -> list[Talker]:
    """The model of a run, and the one that it began from if that is wanted.

    Args:
        task: the task with its weights and data.
        path: the run as given, for errors.
        run: its folder.
        with_base: whether the other is wanted.

    Raises:
        UserError: the run knows no chats, or the other model cannot be loaded.
    """
    data = task.datamodule
    if not isinstance(task, CausalLM) or not isinstance(data, ChatData):
        kind = type(task).__name__
        raise UserError(f"{path} is a run of {kind}; runs of CausalLM can be talked to")
    if data.plain:
        raise UserError(f"{path} learned plain texts, no chats; predict --text goes on with a text")
    talkers = [Talker("tuned" if with_base else "", task.model, data, Kept())]
    if with_base:
        name = str(records.facts(run).get("backbone", task.backbone))
        model = kernels.use(weights.load(name, "AutoModelForCausalLM"), task.kernels)
        talkers.append(Talker("base", model.eval().to(task.device), data, Kept()))
    return talkers


def how_of(task: Task, temperature: float | None, top_p: float | None, most: int | None) -> How:
    """How replies are generated: as the run does, but for what is given."""
    assert isinstance(task, CausalLM)
    task.max_new_tokens = task.max_new_tokens if most is None else most
    task.temperature = task.temperature if temperature is None else temperature
    task.top_p = task.top_p if top_p is None else top_p
    return How(Drawing(task.temperature, task.top_p), task.new_tokens)


def prompt(talker: Talker, messages: Sequence[Message], how: How) -> tuple[list[int], bool]:
    """The tokens of a chat, and whether its oldest messages had to be left out.

    Raises:
        UserError: the template cannot say it.
    """
    room = int(talker.data.max_length) - how.most
    ids = speaking.prompt_of(talker.data, messages)
    if len(ids) <= room:
        return ids, False
    return talker.data.prompt(list(messages), room), True


def reply(talker: Talker, ids: Sequence[int], how: How) -> Iterator[Piece]:
    """Yields a reply piece by piece; what the model has read before is not read again."""
    return speaking.speak(talker.model, talker.data, ids, how, talker.kept)


def row(messages: Sequence[Message]) -> str:
    """A chat as a line of JSON, as ``fit`` reads it.

    >>> row([Message("user", "a"), Message("assistant", "b")])
    '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'
    """
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return json.dumps({"messages": turns}, ensure_ascii=False)


def save(path: Path, messages: Sequence[Message]) -> None:
    """Adds a chat to a file.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with path.open("a+b") as file:
            size = file.tell()
            file.seek(max(0, size - 1))
            between = b"\n" if size and file.read(1) != b"\n" else b""
            file.write(between + row(messages).encode("utf-8", "replace") + b"\n")
    except OSError as error:
        raise UserError(f"/save {path}: cannot be written ({error.strerror})") from None
