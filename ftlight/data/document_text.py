"""The text of one document: a text, Markdown, Word or PDF file."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from ftlight.data import docx, encoding_guess, pdf
from ftlight.data.encoding import encoding_of, open_text
from ftlight.utils.errors import UserError

MOST = 2**26  # bytes of a file, and of its text
CONTROL = re.compile("[\\0-\\x08\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f]")  # but lines and pages


class Unreadable(Exception):
    """A document that has no text to give; says why."""


def read(path: Path, encoding: str, reader: pdf.Reader) -> tuple[str, str]:
    """The text of a document, and its encoding if that had to be guessed, else nothing.

    Raises:
        Unreadable, docx.Bad, pdf.Bad: it cannot be read; says why.
        UserError: there is no such encoding, or the reader of PDFs is not installed.
    """
    try:
        size = path.stat().st_size
        if size > MOST:
            raise Unreadable(f"larger than {MOST >> 20} MB; divide it")
        kind = path.suffix.lower()
        if kind == ".docx":
            return docx.text(path, MOST), ""
        if kind == ".pdf":
            return reader.text(path), ""
        with open_text(path, encoding_of(path) or encoding) as file:
            return "".join(file), ""
    except OSError as error:
        raise Unreadable(f"it cannot be opened ({error.strerror or error})") from None
    except UserError as error:
        if isinstance(error.__cause__, UnicodeDecodeError):
            if codecs.lookup(encoding).name == "utf-8" and (guessed := _guessed(path)):
                return guessed
            way_out = "set data.encoding, for example data.encoding: cp1252"
            raise Unreadable(f"not in {encoding}; {way_out}") from None
        if not str(error).startswith(str(path)):  # about an option
            raise
        raise Unreadable(str(error).removeprefix(str(path)).lstrip(": ")) from None


def _guessed(path: Path) -> tuple[str, str] | None:
    """The text of a file that is not UTF-8 in the encoding that its bytes spell, and that.

    Bytes that spell nothing are no text, nor is what holds control characters; and if most letters
    are UTF-8, the others are damaged.
    """
    beyond = [c for c in path.read_bytes().decode("utf-8", "replace") if not c.isascii()]
    name = encoding_guess.guess(path)
    damaged = encoding_of(path) or beyond.count("\ufffd") * 2 < len(beyond)
    if damaged or name == encoding_guess.NONE:
        return None
    try:
        with open_text(path, name) as file:
            text = "".join(file)
    except UserError:
        return None
    return None if CONTROL.search(text) else (text, name)
