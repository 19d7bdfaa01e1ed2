"""Texts of others made fit to be shown: what cannot be seen is written out, what is long is cut."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from markupsafe import Markup

from ftlight.utils.printable import UNSEEN

MOST = 2000  # characters of a value that are shown
CELL = 160  # of one in a table


def clean(value: str, most: int = MOST) -> str:
    r"""A text without what hides in it or harms a page, cut with the count of what is left out.

    Args:
        value: any text.
        most: characters that are kept, at least 1.

    >>> clean("a\x00b\u202ec"), clean("x" * 9, most=4)
    ('a␀b⟨U+202E⟩c', 'xxxx … (5 more characters)')
    """
    rest = len(value) - most
    if rest > 0:
        unit = "character" if rest == 1 else "characters"
        return f"{UNSEEN.sub(_written, value[:most])} … ({rest:,} more {unit})"
    return UNSEEN.sub(_written, value)


def _written(match: re.Match[str]) -> str:
    """A character that cannot be seen, as one that can."""
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    if unicodedata.category(match[0]) == "Cs":
        return "�"
    return f"⟨U+{code:04X}⟩"


class Cut(str):
    """A text that is clean already."""


def cut(value: object, most: int) -> Cut:
    """A value as a text that is clean, and no longer than told.

    Args:
        value: any value.
        most: characters that are kept.
    """
    return Cut(clean(str(value), most))


def printed(value: Any) -> Any:
    """What a template prints of a value: texts are cleaned, whoever they are of.

    Args:
        value: value of an expression in a template; of ours if it is marked as HTML.
    """
    if isinstance(value, (Markup, Cut)):
        return value
    return clean(value) if isinstance(value, str) else value
