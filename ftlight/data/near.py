"""Texts that are nearly the same: MinHash proposes pairs, the exact Jaccard index confirms them.

Broder (1997), "On the resemblance and containment of documents"; bands as in Leskovec, Rajaraman
and Ullman, "Mining of Massive Datasets", chapter 3. What is compared are the sets of four
characters in a row, without case, punctuation and repeated blanks.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

GRAM = 4
BANDS, ROWS = 32, 4  # a pair with an index of 0.6 is proposed with 99 %, of 0.3 with 23 %
REPEATS, CLOSE = 0.8, 0.6
NEIGHBOURS = 16  # rows of a band that each is compared with, if more have the same key
CHARACTERS = 1 << 16  # read at once: their hashes stay in the processor's cache
PAIRS = 1 << 13  # confirmed at once


class Pairs(NamedTuple):
    """Pairs of similar rows.

    Attributes:
        first: numbers of the earlier rows ``int64 [pairs]``.
        second: numbers of the later ones ``int64 [pairs]``.
        likeness: Jaccard index of each pair ``float64 [pairs]``.
    """

    first: np.ndarray
    second: np.ndarray
    likeness: np.ndarray


def plain(text: str) -> str:
    """A text without case, punctuation, forms of letters and repeated blanks.

    >>> plain("Can't  PAY!")
    'can t pay'
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(re.sub(r"[\W_]+", " ", text.casefold()).split())


def find(
    parts: Sequence[Sequence[str]], asked: np.ndarray | None = None, least: float = CLOSE
) -> Pairs:
    """Finds pairs of rows that are nearly the same in each of their parts.

    Args:
        parts: texts of all rows, one sequence ``[rows]`` for each part, such as question and
            context.
        asked: rows to find pairs of, ``bool [rows]``: a pair has at least one of them. All if not
            given; if few are asked for, memory grows with these alone.
        least: the least Jaccard index of each part.

    Returns:
        The pairs with the index of their least similar part, by rows. Some are missed; of a crowd
        of similar rows each is compared with its neighbours alone. Rows without a letter or digit,
        such as empty ones, are in none.
    """
    count = len(parts[0])
    if count < 2:
        return Pairs(np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    codes = _candidates(parts, asked)
    first, second = codes // count, codes % count
    index = np.ones(len(codes))
    for texts in parts:
        kept = np.flatnonzero(index >= least)
        shared = overlap(texts, first[kept], second[kept]).jaccard
        index[kept] = np.minimum(index[kept], shared)
    same = index == 1
    bare = [row for row in np.unique(first[same]).tolist() if is_bare(parts, row)]
    index[same & np.isin(first, bare)] = 0
    kept = np.flatnonzero(index >= least)
    return Pairs(first[kept], second[kept], index[kept])


def is_bare(parts: Sequence[Sequence[str]], row: int) -> bool:
    """Whether a row has no letter or digit that could be compared: it repeats no other."""
    return not any(plain(texts[row]) for texts in parts)


class Overlap(NamedTuple):
    """What pairs of texts have in common.

    Attributes:
        jaccard: grams of both, as a share of those of either ``float64 [pairs]``.
        within: grams of both, as a share of those of the text with fewer ``float64 [pairs]``.
    """

    jaccard: np.ndarray
    within: np.ndarray


def overlap(
    texts: Sequence[str], first: np.ndarray, second: np.ndarray, gram: int = GRAM
) -> Overlap:
    """What pairs of texts have in common; all of it if both are empty.

    Args:
        texts: the texts.
        first: number of one text of each pair ``int64 [pairs]``.
        second: number of the other ``int64 [pairs]``.
        gram: characters of a gram.

    >>> overlap(["abcde", "ABCDE!", "xyz"], np.array([0, 0]), np.array([1, 2])).jaccard
    array([1., 0.])
    """
    found = [Overlap(np.zeros(0), np.zeros(0))]
    for start in range(0, len(first), PAIRS):
        part = slice(start, start + PAIRS)
        rows, places = np.unique(np.stack([first[part], second[part]]), return_inverse=True)
        grams, sizes = _grams([texts[row] for row in rows], gram)
        owner = np.repeat(np.arange(len(rows), dtype=np.uint64), sizes)
        sets = _distinct(owner << np.uint64(32) | grams)  # each gram of a text once
        sizes = np.bincount((sets >> np.uint64(32)).astype(int), minlength=len(rows))
        one, other = places.reshape(2, -1)
        both = _shared(sets, sizes, one, other)
        shorter = np.minimum(sizes[one], sizes[other])
        found.append(Overlap(both / (sizes[one] + sizes[other] - both), both / shorter))
    return Overlap(*map(np.concatenate, zip(*found, strict=True)))


def shingles(text: str) -> set[int]:
    """Hashes of the grams of a text.

    >>> len(shingles("aaaa")), shingles("") == shingles("?!")
    (3, True)
    """
    return set(_grams([text])[0].tolist())


def _shared(sets: np.ndarray, sizes: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How many elements the sets of each pair have in common, by one sort for all pairs."""
    starts = np.cumsum(sizes) - sizes
    members = []
    for side in (one, other):
        counts = sizes[side]
        before = np.repeat(np.cumsum(counts) - counts, counts)
        places = np.repeat(starts[side], counts) + np.arange(counts.sum()) - before
        pair = np.repeat(np.arange(len(side), dtype=np.uint64), counts)
        members.append(pair << np.uint64(32) | sets[places] & np.uint64(0xFFFFFFFF))
    both = np.sort(np.concatenate(members))
    twice = both[1:][both[1:] == both[:-1]]
    return np.bincount((twice >> np.uint64(32)).astype(int), minlength=len(one))


def _grams(texts: Sequence[str], size: int = GRAM) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the grams of all texts ``uint32``, one text after another, and how many each has.

    A text is padded by blanks, so that also one of a single character has a gram.
    """
    padded = [f" {plain(text):{size - 2}} " for text in texts]
    letters = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.array([len(text) for text in padded])
    hashes = np.zeros(len(letters) - size + 1, np.uint32)
    for shift in range(size):
        hashes = hashes * np.uint32(0x9E3779B1) + letters[shift : shift + len(hashes)]
    hashes ^= hashes >> np.uint32(15)
    hashes *= np.uint32(0x85EBCA6B)
    hashes ^= hashes >> np.uint32(13)
    inside = np.ones(len(letters), bool)  # grams that reach into the next text are left out
    ends = np.cumsum(lengths)
    for shift in range(1, size):
        inside[ends - shift] = False
    return hashes[inside[: len(hashes)]], lengths - size + 1


def _band_keys(texts: Sequence[str]) -> np.ndarray:
    """A key of each band of the MinHash signature of each text, ``uint64 [bands, texts]``."""
    grams, sizes = _grams(texts)
    random, starts = np.random.default_rng(0), np.cumsum(sizes) - sizes
    keys = np.zeros((BANDS, len(texts)), np.uint64)
    for number in range(BANDS * ROWS):
        times, plus = random.integers(1, 1 << 32, 2, dtype=np.uint32)
        values = grams * (times | np.uint32(1)) + plus
        values ^= values >> np.uint32(16)
        values *= np.uint32(0x7FEB352D)
        least = np.minimum.reduceat(values, starts)
        band = keys[number // ROWS]
        band *= np.uint64(0x9E3779B97F4A7C15)
        band += least
        band ^= band >> np.uint64(29)
    return keys


def _chunks(parts: Sequence[Sequence[str]], rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields row numbers whose texts have about so many characters together."""
    start, size = 0, 0
    for end, row in enumerate(rows.tolist(), 1):
        size += sum(len(texts[row]) for texts in parts)
        if size >= CHARACTERS or end == len(rows):
            yield rows[start:end]
            start, size = end, 0


def _keys_of(
    parts: Sequence[Sequence[str]], rows: np.ndarray, wanted: Sequence[np.ndarray] | None
) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Keys of rows with the rows' numbers, by band, in pieces; only those that are wanted."""

    def read(chunk: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        texts = [" ".join(texts[row] for texts in parts) for row in chunk.tolist()]
        found = []
        for band, keys in enumerate(_band_keys(texts)):
            kept = slice(None) if wanted is None else _is_in(keys, wanted[band])
            found.append((keys[kept], chunk[kept]))
        return found

    # numpy lets other threads run while it works on large arrays
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        pieces = list(pool.map(read, _chunks(parts, rows)))
    return [[piece[band] for piece in pieces] for band in range(BANDS)]


def _candidates(parts: Sequence[Sequence[str]], asked: np.ndarray | None) -> np.ndarray:
    """Pairs that have the key of a band in common, as ``first * rows + second``, sorted."""
    count = len(parts[0])
    is_asked = np.ones(count, bool) if asked is None else asked
    pieces = _keys_of(parts, np.flatnonzero(is_asked), None)
    if not is_asked.all():
        wanted = [_distinct(np.concatenate([keys for keys, _ in band])) for band in pieces]
        others = _keys_of(parts, np.flatnonzero(~is_asked), wanted)
        pieces = [band + more for band, more in zip(pieces, others, strict=True)]
    found = np.zeros(0, np.int64)
    for band in pieces:
        keys, rows = (np.concatenate(arrays) for arrays in zip(*band, strict=True))
        order = np.lexsort((rows, keys))
        pairs = _neighbours(keys[order], rows[order], is_asked, count)
        found = _distinct(np.concatenate([found, pairs]))
    return found


def _is_in(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whether each value is among the known ones, which are sorted and at least one."""
    places = np.searchsorted(known, values)
    return known[np.minimum(places, len(known) - 1)] == values


def _distinct(values: np.ndarray) -> np.ndarray:
    """Each value once, sorted; many times faster than numpy's, which hashes."""
    ordered = np.sort(values)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(values) else values


def _neighbours(keys: np.ndarray, rows: np.ndarray, is_asked: np.ndarray, count: int) -> np.ndarray:
    """Pairs of rows with the same key, at most so many places apart."""
    found = []
    for apart in range(1, NEIGHBOURS):
        same = keys[apart:] == keys[:-apart]
        if not same.any():
            break
        first, second = rows[:-apart][same], rows[apart:][same]
        wanted = is_asked[first] | is_asked[second]
        found.append(first[wanted] * count + second[wanted])
    return np.concatenate(found) if found else np.zeros(0, np.int64)
