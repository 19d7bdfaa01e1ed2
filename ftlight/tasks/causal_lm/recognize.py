"""Whether a file holds chats, as ``init`` asks."""

from __future__ import annotations

import json

from ftlight.data.recognition import LABELS, Content, Look, Options, Shape
from ftlight.data.sources import Source
from ftlight.tasks.causal_lm import formats, readers
from ftlight.utils.errors import UserError

PAIRS = (("prompt", "completion"), ("prompt", "response"), ("question", "answer"))


def recognize(look: Look) -> Shape | None:
    """Messages, an instruction with its output, or a prompt with its completion."""
    names = set(look.first)
    if {"messages", "conversations"} & names:
        return Shape({}, "a column of messages")
    if "instruction" in names and names & set(formats.OUTPUTS):
        return Shape({}, "an instruction and its output")
    for pair in PAIRS:
        if set(pair) <= names and _differ(look, pair[1]) and not look.named(LABELS):
            named = dict(zip(("prompt", "completion"), pair, strict=True))
            options = {k: v for k, v in named.items() if k != v}
            return Shape(options, "a prompt and its completion")
    if not look.asked:
        return None
    text = look.named(("text",)) or next(iter(look.texts()), "text")
    return Shape({} if text == "text" else {"text": text}, "as asked for")


def _differ(look: Look, column: str) -> bool:
    """Whether most values of a column differ: few different ones are labels."""
    return len({str(value) for value in look.values(column)}) * 2 > len(look.rows)


def survey(source: Source, options: Options, train: Content | None = None) -> Content:
    """What a split holds.

    Raises:
        UserError: it cannot be read, or none of its rows is a chat.
    """
    given = {k: v for k, v in options.items() if k in formats.Columns._fields}
    names, further, notes = formats.Columns(**given), {}, []
    try:
        rows = list(readers.read_rows(source, names, "error", ""))
    except UserError as error:
        if readers.SKIP not in str(error):
            raise
        rows = list(readers.read_rows(source, names, "skip", ""))
        further = {"on_bad_chat": "skip"}
        bad = [fault for row in rows for fault in json.loads(row["__bad"])]
        notes.append(f"{len(bad):,} rows are no chats and left out, such as {bad[0]}")
    unit = "texts" if rows[0]["format"] == "text" else "chats"
    return Content(len(rows), unit, options=further, notes=notes)
