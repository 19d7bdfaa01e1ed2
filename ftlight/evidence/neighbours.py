"""Nearest neighbours by cosine: rows unlike all others, and twins that no letters tell."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MOST = 50_000  # others that rows are compared with; evenly spread ones of more
BLOCK = 1024  # rows whose products with all others are held at once
STRANGER = 10  # neighbours whose mean cosine tells how familiar a row is
TWINS = 5  # neighbours that are compared letter by letter
FAR = 4.0  # robust standard deviations below the median


class Nearest(NamedTuple):
    """The nearest neighbours of rows, the nearest first.

    Attributes:
        cosines: ``float [rows, neighbours]``.
        rows: their numbers ``int64 [rows, neighbours]``.
    """

    cosines: Tensor
    rows: Tensor


def nearest(vectors: Tensor, others: Tensor | None, count: int) -> Nearest:
    """Finds the nearest of the others; of the same rows, each but itself, if there are none.

    Of more than 50,000 others, as many are compared.

    Args:
        vectors: of length 1, ``[rows, width]``.
        others: of length 1, ``[others, width]``.
        count: number of neighbours; fewer are found of fewer others.
    """
    pool = vectors if others is None else others
    spread = torch.linspace(0, len(pool) - 1, min(len(pool), MOST), dtype=torch.double)
    numbers = spread.round().long()
    chosen = pool[numbers]
    count = min(count, len(chosen) - (others is None))
    cosines, rows = [], []
    for start in range(0, len(vectors), BLOCK):
        products = vectors[start : start + BLOCK] @ chosen.T
        if others is None:
            own = torch.arange(start, start + len(products))
            products[own[:, None] == numbers] = -2.0
        found = products.topk(count, dim=1)
        cosines.append(found.values)
        rows.append(numbers[found.indices])
    return Nearest(torch.cat(cosines), torch.cat(rows))


def familiarity(vectors: Tensor, others: Tensor | None = None) -> Tensor:
    """Mean cosine to the ten nearest, ``float [rows]``; low for what is unlike all others.

    Args:
        vectors: of length 1, ``[rows, width]``.
        others: those to be near to, of length 1; without them the same rows, each but itself.
    """
    return nearest(vectors, others, STRANGER).cosines.mean(1)


def strangers(familiar: Tensor) -> Tensor:
    """Numbers of the rows that are far less familiar than most, the strangest first.

    Args:
        familiar: ``float [rows]``.
    """
    middle = familiar.median()
    spread = 1.4826 * (familiar - middle).abs().median()
    order = familiar.argsort(stable=True)
    return order[: int((familiar < middle - FAR * spread).sum())]
