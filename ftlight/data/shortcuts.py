"""What alone gives a class away: a word or the length. A model would learn that and no more."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ftlight.data.near import plain

TOKEN = re.compile(r"\w+|[^\w\s]+")
ROWS = 20  # of a class that have the word, at least
PRECISION, RECALL = 0.95, 0.5
OF_ITS_NAME = 0.9  # recall of a word that stands in the class's own name, which is no wonder
LENGTH = 0.95  # area under the ROC curve
MOST = 200_000  # rows that are read


class Word(NamedTuple):
    """A word that gives a class away.

    Attributes:
        word: the word, in small letters.
        label: the class.
        rows: rows of the class that have it.
        precision: share of the rows with the word that are of the class.
        recall: share of the rows of the class that have the word.
    """

    word: str
    label: str
    rows: int
    precision: float
    recall: float


def words(texts: Sequence[str], labels: Sequence[Sequence[str]]) -> list[Word]:
    """Words that nearly only one class has, in at least half of its rows, most rows first.

    Words of the class's own name are left out: in rows about refunds one expects the word.

    Args:
        texts: text of each row.
        labels: classes of each row.

    >>> found = words(["ref 7 hello", "hello"] * 30, [["a"], ["b"]] * 30)
    >>> [(item.word, item.label) for item in found]
    [('7', 'a'), ('ref', 'a')]
    """
    chosen = _evenly(len(texts))
    with_word, together = Counter[str](), Counter[tuple[str, str]]()
    of_class = Counter(label for row in chosen for label in labels[row])
    if len(of_class) < 2:
        return []
    for row in chosen:
        found_in = tokens(texts[row])
        with_word.update(found_in)
        for label in labels[row]:
            together.update((word, label) for word in found_in)
    found = []
    for (word, label), rows in together.items():
        precision, recall = rows / with_word[word], rows / of_class[label]
        least = OF_ITS_NAME if in_name(word, label) else RECALL
        if rows >= ROWS and precision >= PRECISION and recall >= least:
            found.append(Word(word, label, rows, precision, recall))
    return sorted(found, key=lambda item: (-item.rows, item.word))


def tokens(text: str) -> set[str]:
    """The words of a text in small letters, and its runs of punctuation."""
    return set(TOKEN.findall(text.casefold()))


def in_name(word: str, label: str) -> bool:
    """Whether a word, or a part of it, stands in the name of a class."""
    name = plain(label).split()
    return any(word in part or part in word for part in name if len(part) > 2)


def lengths(sizes: Sequence[int], labels: Sequence[Sequence[str]]) -> list[tuple[str, float, bool]]:
    """Classes that the length of a row gives away.

    Args:
        sizes: length of each row.
        labels: classes of each row.

    Returns:
        The class, the area under the ROC curve of the length for it, and whether its rows are the
        longer ones.
    """
    ranks = _ranks(np.asarray(sizes, float))
    rows_of: dict[str, list[int]] = {}
    for row, members in enumerate(labels):
        for label in members:
            rows_of.setdefault(label, []).append(row)
    found = []
    for label, rows in rows_of.items():
        others = len(sizes) - len(rows)
        if min(len(rows), others) < ROWS:
            continue
        above = ranks[rows].sum() - len(rows) * (len(rows) + 1) / 2
        area = above / (len(rows) * others)
        if max(area, 1 - area) >= LENGTH:
            found.append((label, max(area, 1 - area), area > 0.5))
    return found


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 on, equal values sharing their mean."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[places]


def _evenly(count: int) -> Iterable[int]:
    """Row numbers, evenly spread if there are more than are read."""
    return range(count) if count <= MOST else np.linspace(0, count - 1, MOST).astype(int).tolist()
