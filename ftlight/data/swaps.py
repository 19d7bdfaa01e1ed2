"""Texts with words exchanged for their partners: he for she, Anna for Fatima, and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ftlight.data.encoded import EncodedSplit
from ftlight.utils.errors import UserError


class Exchanged(NamedTuple):
    """Rows that hold a word with a partner.

    Attributes:
        rows: their numbers.
        before: their texts.
        after: the same with the words exchanged.
        encoded: the latter, ready for batches.
    """

    rows: list[int]
    before: list[str]
    after: list[str]
    encoded: EncodedSplit


def check(pairs: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """Pairs of words as given.

    Raises:
        UserError: one is not a pair of two different words.
    """
    for pair in pairs:
        words = {word.strip().lower() for word in pair} - {""}
        if len(pair) != 2 or len(words) != 2:
            raise UserError(
                f"data.swaps: {list(pair)} is no pair of two different words; write [[he, she]]"
            )
    return tuple((first.strip(), second.strip()) for first, second in pairs)


def exchange(text: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Exchanges whole words for their partners, in both directions at once; their case is kept.

    A word of several pairs has its partner in the first.

    Args:
        text: the text.
        pairs: pairs of words.

    >>> exchange("He said SHE and the others left", [("he", "she")])
    'She said HE and the others left'
    """
    partners: dict[str, str] = {}
    for first, second in pairs:
        partners.setdefault(first.lower(), second)
        partners.setdefault(second.lower(), first)
    longest = sorted(partners, key=len, reverse=True)  # "New York" before "New"
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest))})(?!\w)"

    def partner(found: re.Match[str]) -> str:
        # lower() of a few letters, such as İ, is no key
        return _cased(partners.get(found[0].lower(), found[0]), found[0])

    return re.sub(pattern, partner, text, flags=re.IGNORECASE)


def _cased(word: str, like: str) -> str:
    """A word in the case of another: small, all capitals, or with a capital at its start.

    >>> [_cased("she", like) for like in ("he", "HE", "He")], _cased("Anna", "fatima")
    (['she', 'SHE', 'She'], 'anna')
    """
    if like.islower():
        return word.lower()
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word
