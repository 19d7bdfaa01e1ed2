"""Lines that a person types: messages, and commands that begin with a slash."""

from __future__ import annotations

from typing import NamedTuple

from ftlight.utils.errors import unknown

COMMANDS = {
    "/reset": "forget the chat and begin anew",
    "/save FILE": "add the chat to FILE.jsonl, which fit reads",
    "/help": "list this",
    "/quit": "end (as Ctrl-C or Ctrl-D do)",
}
HELP = "\n".join(
    [f"{name:12}{what}" for name, what in COMMANDS.items()]
    + ["Ctrl-C while a reply is written ends the reply; // at the beginning of a message is /"]
)


class Line(NamedTuple):
    """What a line asks.

    Attributes:
        command: reset, save, help or quit; empty for a message, error for what is wrong.
        text: the message, the file to save to, or what is wrong.
    """

    command: str
    text: str = ""


def read(line: str) -> Line:
    """What a line asks.

    >>> read("hello "), read("/save a.jsonl"), read("//x").text
    (Line(command='', text='hello'), Line(command='save', text='a.jsonl'), '/x')
    >>> read("/rest").text
    'no command /rest; did you mean "/reset"? (commands: /reset, /save, /help, /quit)'
    """
    text = line.strip()
    if text.startswith("//"):
        return Line("", text[1:])
    if not text.startswith("/"):
        return Line("", text)
    word, _, rest = text.partition(" ")
    known = [name.split()[0] for name in COMMANDS]
    if word not in known:
        return Line("error", unknown("no command", word, known, "commands"))
    if word == "/save" and not rest.strip().endswith(".jsonl"):
        return Line("error", "/save: give a file that ends in .jsonl, such as /save chats.jsonl")
    return Line(word[1:], rest.strip())
