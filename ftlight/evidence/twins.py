"""Rows of one split that say what a row of another says: alike in letters, or within it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ftlight.data import near

GRAM = 3  # characters: fewer than of the texts alone, since candidates are few
ALIKE = 0.6  # Jaccard index of the grams
WITHIN, COSINE = 0.85, 0.8  # share of the shorter text's grams, with the least cosine
LOOSE = 0.4  # Jaccard index of four characters in a row that makes a candidate


def find(
    parts: Sequence[Sequence[str]],
    others: Sequence[Sequence[str]],
    rows: np.ndarray,
    cosines: np.ndarray,
) -> dict[int, int]:
    """Finds rows with a twin among others.

    Candidates are the nearest by a model, which knows other words for the same, and those that
    MinHash proposes, which knows typing errors. A pair is one of twins if each of its parts is
    nearly the same, or nearly all within the other and the model agrees: a frame of courtesy.

    Args:
        parts: texts of the rows, a sequence ``[rows]`` a part.
        others: texts of the others, the same parts ``[others]``.
        rows: numbers of the nearest others ``int64 [rows, neighbours]``.
        cosines: their cosines ``[rows, neighbours]``.

    Returns:
        Number of a row to that of its best twin.
    """
    count = len(parts[0])
    joined = [[*mine, *texts] for mine, texts in zip(parts, others, strict=True)]
    mine = np.repeat(np.arange(count), rows.shape[1])
    asked = np.arange(len(joined[0])) < count
    pairs = near.find(joined, asked, LOOSE)
    across = (pairs.first < count) & (pairs.second >= count)
    first = np.concatenate([mine, pairs.first[across]])
    second = np.concatenate([rows.flatten() + count, pairs.second[across]])
    agreed = np.concatenate([cosines.flatten() >= COSINE, np.zeros(int(across.sum()), bool)])
    likeness = np.ones(len(first))
    for texts in joined:
        overlap = near.overlap(texts, first, second, GRAM)
        within = np.where(agreed & (overlap.within >= WITHIN), overlap.within, 0.0)
        index = np.where(overlap.jaccard >= ALIKE, overlap.jaccard, within)
        likeness = np.minimum(likeness, index)
    bare = [row for row in range(count) if near.is_bare(parts, row)]
    likeness[np.isin(first, bare)] = 0
    order = np.argsort(likeness, kind="stable")
    found = order[likeness[order] > 0]
    return dict(zip(first[found].tolist(), (second[found] - count).tolist(), strict=True))
