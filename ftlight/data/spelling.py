"""Labels that differ only in how they are written, or by a letter."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Mapping

from ftlight.utils.errors import join_limited

INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
# How keyboards without these letters write them; case folding makes ss of ß.
WRITTEN_OUT = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae", "œ": "oe"}
)
JOINTS = re.compile(r"(?<=[^\W\d_])[-_]+(?=\w)|(?<=\w)[-_]+(?=[^\W\d_])")  # of words
WAYS = "capitals, blanks, hyphens, Unicode form or a letter written out (ue for ü)"
LEAST = 6  # characters of labels that may be one with a typing error: shorter ones are other words
LONGEST, MOST = 64, 5000  # characters of a label, and labels, beyond which none is looked for
RARER = 4  # times that a typing error is rarer than the right word


def key(label: str) -> str:
    """What labels have in common that differ only in how they are written.

    >>> key("Card\u00a0 Arrival") == key("card arrival\u200b"), key("cafe\u0301") == key("café")
    (True, True)
    >>> key("cancel_order") == key("Cancel order") == key("cancel-order"), key("-1") == key("1")
    (True, False)
    >>> key("Kuendigung") == key("Kündigung"), key("schon") == key("schön")
    (True, False)
    """
    visible = INVISIBLE.sub("", unicodedata.normalize("NFC", label))
    return JOINTS.sub("", "".join(visible.split())).casefold().translate(WRITTEN_OUT)


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


def typing_errors(counts: Mapping[str, int]) -> list[list[str]]:
    """Pairs of labels that a letter or accent tells apart, the rare one last: perhaps one label.

    >>> typing_errors({"complaint": 40, "complant": 2, "account": 40, "accounts": 30})
    [['complaint', 'complant']]
    >>> typing_errors({"typical": 40, "atypical": 2, "type_1": 40, "type_2": 2})
    []
    """
    kept = {word: label for word, label in folded(counts).items() if 1 < len(word) <= LONGEST}
    near: dict[str, list[str]] = {}
    for word in sorted(kept) if len(kept) <= MOST else ():
        shorter = (word[:i] + word[i + 1 :] for i in range(1, len(word)))
        for part in {word, _bare(kept[word]), *shorter}:
            near.setdefault(part, []).append(word)
    pairs = {pair for words in near.values() for pair in itertools.combinations(words, 2)}
    found = []
    for pair in pairs:
        first, second = sorted((kept[word] for word in pair), key=lambda word: -counts[word])
        is_rare = counts[second] * RARER <= counts[first]
        if _bare(first) == _bare(second) or (is_rare and _by_a_letter(*pair)):
            found.append([first, second])
    return sorted(found)


def _bare(label: str) -> str:
    """A label without its accents."""
    letters = unicodedata.normalize("NFD", label.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _shared(first: str, second: str) -> int:
    """Characters that two words begin with alike."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _by_a_letter(first: str, second: str) -> bool:
    """Whether a letter that is more, another, or in the place of its neighbour makes one of two.

    Not the first one: words such as typical and atypical are two.
    """
    if min(len(first), len(second)) < LEAST:
        return False
    start = _shared(first, second)
    rest = [first[start:], second[start:]]
    end = _shared(rest[0][::-1], rest[1][::-1])
    one, other = (word[: len(word) - end] for word in rest)
    swapped = len(one) == len(other) == 2 and one == other[::-1]
    return start > 0 and (one + other).isalpha() and (max(len(one), len(other)) == 1 or swapped)
