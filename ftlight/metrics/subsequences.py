"""The longest common subsequence of two lists of words."""

from __future__ import annotations

from collections.abc import Sequence


def _lcs(a: Sequence[str], b: Sequence[str]) -> list[int]:
    """Table of the longest common subsequence: bits over ``b`` for each prefix of ``a``.

    The first i words of ``a`` and j of ``b`` have a subsequence as long as row i has zeros in its
    lowest j bits. Hyyrö (2004): one addition of long integers per word replaces a loop over ``b``.
    """
    full = (1 << len(b)) - 1
    places = dict.fromkeys(b, 0)
    for j, word in enumerate(b):
        places[word] |= 1 << j
    table = [full]
    for word in a:
        row, match = table[-1], places.get(word, 0)
        table.append(((row + (row & match)) | (row & ~match)) & full)
    return table


def lcs_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    >>> lcs_length("a b c d".split(), "b x d".split())
    2
    """
    return len(b) - _lcs(a, b)[-1].bit_count()


def lcs_places(a: Sequence[str], b: Sequence[str]) -> set[int]:
    """Positions in ``a`` of the longest common subsequence that rouge-score picks."""
    table = _lcs(a, b)
    i, j = len(a), len(b)
    places = set()

    def length(i: int, j: int) -> int:
        return j - (table[i] & ((1 << j) - 1)).bit_count()

    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            places.add(i)
        elif length(i, j - 1) > length(i - 1, j):
            j -= 1
        else:
            i -= 1
    return places
