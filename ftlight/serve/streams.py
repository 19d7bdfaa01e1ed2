"""Between a connection and the thread of a model: parts of replies, and clients that leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable
from concurrent.futures import Future
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from starlette.requests import Request

from ftlight.serve import chat_forms
from ftlight.serve.answering import Answer
from ftlight.serve.batches import Full, Queue
from ftlight.serve.bodies import Asked
from ftlight.serve.chat_forms import Heading, Reply
from ftlight.serve.chats import Chat
from ftlight.serve.embeddings import Texts, Vectors
from ftlight.serve.limits import Refused
from ftlight.serve.speech import Conversation

FAILED = "the server failed; its log says why"
Line = Queue[Asked | Texts | Conversation, list[Answer] | Vectors]
Got = TypeVar("Got")


def put(
    queue: Line, asked: Asked | Texts | Conversation, model: str, size: int
) -> Future[list[Answer] | Vectors]:
    """Lets a request of so many rows wait for its run.

    Raises:
        Refused: too many wait.
    """
    try:
        return queue.put(asked, size)
    except Full:
        raise Refused(503, f"too many requests wait for {model}; try again") from None


async def unless_left(request: Request, work: Awaitable[Got]) -> Got:
    """What work gives; it is cancelled if its client leaves before.

    Raises:
        Refused: nobody waits for it any more.
    """
    done: asyncio.Future[Got] = asyncio.ensure_future(work)
    gone: asyncio.Future[Any] = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait([done, gone], return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            raise Refused(499, "nobody waits for the answer")
        return done.result()
    finally:
        done.cancel()
        gone.cancel()


async def replies(queue: Line, chat: Chat) -> AsyncGenerator[Reply, None]:
    """Yields the parts of a reply as the model says them; whoever stops to listen ends it.

    Raises:
        Refused: too many wait.
        UserError: the chat cannot be replied to.
    """
    loop, left = asyncio.get_running_loop(), threading.Event()
    told: asyncio.Queue[Reply | Future[Any]] = asyncio.Queue()

    def tell(item: Reply | Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop has ended, so nobody listens
            loop.call_soon_threadsafe(told.put_nowait, item)

    future = put(queue, Conversation(chat, tell, left), chat.model, 1)
    future.add_done_callback(tell)
    try:
        while isinstance(item := await told.get(), Reply):
            yield item
        item.result()
    finally:
        left.set()
        future.cancel()  # without effect once the model has begun


async def together(said: AsyncGenerator[Reply, None]) -> Reply:
    """All parts of a reply as one."""
    text, reply = "", None
    async for reply in said:
        text += reply.text
    assert reply is not None
    return reply._replace(text=text)


async def events(
    head: Heading, first: Reply, said: AsyncGenerator[Reply, None], counts: bool
) -> AsyncGenerator[str, None]:
    """Yields a reply as server-sent events; what goes wrong behind the first part is one, too."""
    async with aclosing(said):
        yield chat_forms.events(head, first, True, counts)
        try:
            async for reply in said:
                yield chat_forms.events(head, reply, False, counts)
        except Exception:  # in the log already
            yield chat_forms.event(chat_forms.fault(FAILED, 500))
