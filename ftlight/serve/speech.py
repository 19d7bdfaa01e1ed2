"""Replies to chats, said by the model of a run while their clients listen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ftlight.data.module import DataModule
from ftlight.serve.chat_forms import Reply
from ftlight.serve.chats import Chat
from ftlight.task import Task
from ftlight.tasks.causal_lm import said_calls, speaking
from ftlight.tasks.causal_lm.data import ChatData
from ftlight.tasks.causal_lm.generating import Drawing
from ftlight.tasks.causal_lm.task import CausalLM
from ftlight.utils.errors import UserError


class Conversation(NamedTuple):
    """A chat whose client waits for a reply.

    Attributes:
        chat: what is asked.
        tell: is told each part of the reply.
        left: set once nobody waits any more.
    """

    chat: Chat
    tell: Callable[[Reply], None]
    left: threading.Event


def knows_chats(task: Task, data: DataModule) -> bool:
    """Whether a run replies to chats."""
    return isinstance(task, CausalLM) and isinstance(data, ChatData) and not data.plain


def converse(task: Task, conversation: Conversation) -> Iterator[None]:
    """Tells the client of a chat the reply, until it is said or the client has left.

    Yields:
        After each token, so that others get a turn.

    Raises:
        UserError: the chat is too long, or the template cannot say it.
    """
    assert isinstance(task, CausalLM)
    assert isinstance(task.data, ChatData)
    said = replies(task, task.data, conversation.chat)
    while not conversation.left.is_set() and (reply := next(said, None)):
        if reply.text or reply.end:
            conversation.tell(reply)
        yield


def replies(task: CausalLM, data: ChatData, chat: Chat) -> Iterator[Reply]:
    """Yields a reply as it is said, one part for each token; with tools all text at its end."""
    prompt = speaking.prompt_of(data, chat.messages)
    room = int(data.max_length) - len(prompt)
    if room < 1:
        raise UserError(
            f"messages: {len(prompt):,} tokens in the run's chat template, which takes"
            f" {data.max_length:,} with the reply (data.max_length); leave older messages out"
        )
    lead = said_calls.lead_of(data.template) if chat.tools else ""
    text = ""
    for piece in speaking.speak(task.model, data, prompt, _how(task, chat, room)):
        reply = Reply(piece.text, len(prompt), piece.tokens, piece.end)
        if chat.tools:
            text += piece.text
            said = said_calls.find(text, chat.tools, lead) if piece.end else None
            reply = reply._replace(text=said.content if said else "")
            if said and said.calls:
                end = "tool_calls" if piece.end == "stop" else piece.end
                reply = reply._replace(calls=tuple(said.calls), end=end)
        yield reply


def _how(task: CausalLM, chat: Chat, room: int) -> speaking.How:
    """How a reply is generated: as the run does, but for what is asked."""
    temperature = task.temperature if chat.temperature is None else chat.temperature
    top_p = task.top_p if chat.top_p is None else chat.top_p
    most = task.new_tokens if chat.most is None else chat.most
    drawing = Drawing(temperature, top_p, chat.seed)
    return speaking.How(drawing, min(most, room), chat.stops)
