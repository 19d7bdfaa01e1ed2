"""The terminal: lines in, replies out while they are written."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ftlight.talk import commands, talker
from ftlight.talk.talker import Talker
from ftlight.tasks.causal_lm.messages import Message
from ftlight.tasks.causal_lm.speaking import How
from ftlight.utils.errors import UserError
from ftlight.utils.format import counted
from ftlight.utils.paths import user_path
from ftlight.utils.printable import printable

PROMPT = "> "


def talk(talkers: Sequence[Talker], how: How, system: str, seed: int, title: str) -> None:
    """Talks until the input ends, or the person wants to.

    Replies go to standard output, all else to standard error.

    Args:
        talkers: the models; the reply of the first is what the chat goes on with.
        how: how replies are generated.
        system: what the system says at the beginning; nothing if empty.
        seed: seed of what is drawn; each turn has one of its own.
        title: what is said at first.
    """
    beginning = [Message("system", system)] if system.strip() else []
    messages = list(beginning)
    if sys.stdin.isatty():
        note(title)
    for number, line in enumerate(lines()):
        asked = commands.read(line)
        try:
            if asked.command == "quit":
                return
            if asked.command == "reset":
                messages = list(beginning)
                note("the chat begins anew")
            elif asked.command == "save":
                save(asked.text, messages)
            elif asked.command:
                note(commands.HELP if asked.command == "help" else asked.text)
            elif asked.text:
                drawing = how.drawing._replace(seed=seed + number)
                turn = how._replace(drawing=drawing)
                messages = said(talkers, [*messages, Message("user", asked.text)], turn)
        except UserError as error:
            note(str(error))
            messages = messages if asked.command else without_last(messages)


def without_last(messages: Sequence[Message]) -> list[Message]:
    """A chat without a message that was not replied to."""
    return list(messages[:-1] if messages and messages[-1].role == "user" else messages)


def lines() -> Iterator[str]:
    """Lines that are typed, or those of a pipe, until the input ends."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # lines can be edited, and earlier ones brought back
    with contextlib.suppress(EOFError):
        while True:
            yield input(PROMPT)


def said(talkers: Sequence[Talker], messages: Sequence[Message], how: How) -> list[Message]:
    """Lets models reply, and gives the chat with the reply of the first.

    Raises:
        UserError: the template cannot say the chat.
    """
    replies: list[str] = []
    for model in talkers:
        ids, is_cut = talker.prompt(model, messages, how)
        if is_cut and not replies:
            note("the oldest messages no longer fit into the context, and are left out")
        if model.name:
            show(f"{model.name + ':':7}")
        replies.append(listen(talker.reply(model, ids, how)))
        show("\n")
    if not replies[0]:
        note("there is no reply; your message is left out")
        return without_last(messages)
    return [*messages, Message("assistant", replies[0])]


def listen(pieces: Iterator[Any]) -> str:
    """Shows a reply while it is written, until it ends or Ctrl-C ends it."""
    text = ""
    with interruptible() as interrupted:
        for piece in pieces:
            if piece.text:
                show(piece.text)
                text += piece.text
            if interrupted():
                break
    return text


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Notes the first Ctrl-C, so that a model ends its step; a second ends the program."""
    pressed: list[int] = []

    def press(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def save(name: str, messages: Sequence[Message]) -> None:
    """Adds the chat to a file, and says so.

    Raises:
        UserError: there is no chat yet, or it cannot be written.
    """
    if not any(message.role == "assistant" for message in messages):
        raise UserError("/save: there is nothing to save yet")
    talker.save(user_path(name, "/save"), messages)
    note(f"a chat of {counted(len(messages), 'message')} added to {name}")


def show(text: str) -> None:
    """Prints a part of a reply at once."""
    print(printable(text), end="", flush=True)


def note(text: str) -> None:
    """Prints what is no reply."""
    with contextlib.suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)
