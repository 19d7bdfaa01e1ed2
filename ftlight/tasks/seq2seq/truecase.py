"""Restores capitals in texts of models whose tokenizer lowercases."""

from __future__ import annotations

import re
from typing import Any


def is_uncased(tokenizer: Any) -> bool:
    """Whether a tokenizer lowercases, so that no model can write a capital."""
    text: str = tokenizer.decode(tokenizer("Ab")["input_ids"], skip_special_tokens=True)
    return text == text.lower()


# Words with capitals in a row, such as "The Blue Spice"; not inside a word such as priceRange.
NAME = re.compile(r"\b[^\W\d_a-z][\w'&]*(?:[ -][^\W\d_a-z][\w'&]*)*")


def truecased(text: str, source: str) -> str:
    """Restores capitals of names, as in the source, and of sentences; joins words at hyphens.

    For tokenizers that lose all three. A single word that begins a sentence of the source is no
    name.

    >>> source = "name[Blue Spice], near[The Rice Boat]"
    >>> truecased("the blue spice is a family - friendly pub. it is near the rice boat.", source)
    'The Blue Spice is a family-friendly pub. It is near The Rice Boat.'
    """
    text = re.sub(r"(?<=\w) - (?=\w)", "-", text)
    names = set()
    for match in NAME.finditer(source):
        if " " in match[0] or not _begins(source, match.start()):
            names.add(match[0])
    lowered = text.lower()
    for name in sorted((n for n in names if n.lower() in lowered), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", name, text, flags=re.IGNORECASE)
    return re.sub(r"(^|[.!?]\s+)(\w)", lambda m: m[1] + m[2].upper(), text)


def _begins(text: str, at: int) -> bool:
    """Whether a sentence or line begins at a place, where a capital means nothing."""
    last = at
    while last and text[last - 1].isspace():
        last -= 1
    return not last or "\n" in text[last:at] or (last < at and text[last - 1] in ".!?:")
