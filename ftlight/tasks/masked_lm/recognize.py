"""Which column of a table is the text, as ``init`` asks."""

from __future__ import annotations

from ftlight.data.recognition import Content, Look, Options, Shape
from ftlight.data.sources import Source
from ftlight.tasks.masked_lm.readers import read_documents
from ftlight.utils.errors import UserError


def recognize(look: Look) -> Shape | None:
    """Plain text or the longest column of a table, if the task is asked for."""
    if not look.asked:
        return None
    text = look.named(("text",)) or next(iter(look.texts()), "text")
    return Shape({} if text == "text" else {"text": text}, "as asked for")


def survey(source: Source, options: Options, train: Content | None = None) -> Content:
    """What a split holds.

    Raises:
        UserError: it cannot be read, or holds no text.
    """
    texts = [text for _, text in read_documents(source, options.get("text", "text"), "line")]
    count = sum(bool(text.strip()) for text in texts)
    if not count:
        raise UserError(f"{source.name} holds no text")
    return Content(count, "documents")
