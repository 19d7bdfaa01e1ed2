"""Labels that differ only in how they are written: capitals, blanks, Unicode form."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from ftlight.utils.errors import join_limited

INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


def key(label: str) -> str:
    """What labels have in common that differ only in how they are written.

    >>> key("Card\u00a0 Arrival") == key("card arrival\u200b"), key("cafe\u0301") == key("café")
    (True, True)
    """
    visible = INVISIBLE.sub("", unicodedata.normalize("NFC", label))
    return "".join(visible.split()).casefold()


def alike(counts: Mapping[str, int]) -> list[list[str]]:
    """Groups of labels that differ only in how they are written, the most frequent first.

    Args:
        counts: label to rows.

    >>> alike({"Joy": 2, "joy": 5, "fear": 1})
    [['joy', 'Joy']]
    """
    groups: dict[str, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        groups.setdefault(key(label), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def listed(groups: list[list[str]], counts: Mapping[str, int]) -> str:
    """Groups of labels in words.

    >>> listed([["joy", "Joy"]], {"joy": 5, "Joy": 2})
    "'joy' (5) and 'Joy' (2)"
    """
    words = [" and ".join(f"{label!r} ({counts[label]:,})" for label in group) for group in groups]
    return join_limited(words, 4).replace("), ", "); ")


def folded(counts: Mapping[str, int]) -> dict[str, str]:
    """The spelling that is kept, by key: that of most rows.

    >>> folded({"Joy": 2, "joy": 5})
    {'joy': 'joy'}
    """
    kept: dict[str, str] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        kept.setdefault(key(label), label)
    return kept
