"""Texts of others made fit for a terminal: what would steer it, or hide, is shown as a sign."""

from __future__ import annotations

import contextlib
import re

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
"""Controls, marks that turn the direction of a text, what has no width, halves of characters."""


def printable(text: str) -> str:
    r"""A text of as many characters, in which no terminal finds a command; tabs and lines stay.

    >>> printable("a\x1b[31mb\u202ec\td")
    'a␛[31mb�c\td'
    """
    return UNSEEN.sub(_sign, text)


def _sign(match: re.Match[str]) -> str:
    """The picture of a control character; of anything else that cannot be seen the usual mark."""
    code = ord(match[0])
    if code == 0x7F:
        return "␡"
    return chr(0x2400 + code) if code < 0x20 else "�"


def say(text: str) -> None:
    """Prints a line that may hold texts of others, at once; work goes on if nobody reads it."""
    with contextlib.suppress(OSError):
        print(printable(text), flush=True)
