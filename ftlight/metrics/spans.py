"""Precision, recall and F1 of spans: right is what has the same type, start and end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

Span = tuple[str, int, int]
NAN = float("nan")


def counts(
    gold: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]], types: Sequence[str]
) -> Tensor:
    """Spans found rightly, found, and there, by row and type.

    Args:
        gold: spans of each row.
        predicted: spans found in each row.
        types: the types in order.

    Returns:
        ``double [rows, types, 3]``.
    """
    number = {name: i for i, name in enumerate(types)}
    table = torch.zeros(len(gold), len(types), 3, dtype=torch.double)
    for row, (actual, found) in enumerate(zip(map(set, gold), map(set, predicted), strict=True)):
        for column, spans in enumerate((actual & found, found, actual)):
            for name, *_ in spans:
                table[row, number[name], column] += 1
    return table


def precision(sums: Tensor) -> float:
    """Share of the found spans that are right; nan where none was found. ``sums [3]`` as in :func:`counts`."""
    return (sums[0] / sums[1]).item() if sums[1] else NAN


def recall(sums: Tensor) -> float:
    """Share of the spans there are that were found; nan where there are none."""
    return (sums[0] / sums[2]).item() if sums[2] else NAN


def f1(sums: Tensor) -> float:
    """Harmonic mean of precision and recall, 0 where nothing is right; nan where there is nothing and nothing was found.

    >>> f1(torch.tensor([1.0, 2.0, 2.0]))
    0.5
    """
    both = sums[1] + sums[2]
    return (2 * sums[0] / both).item() if both else NAN


def scores(table: Tensor, types: Sequence[str]) -> dict[str, float]:
    """Micro precision, recall and F1 over all types, and the F1 of each type, as seqeval's default mode has them.

    Args:
        table: ``[rows, types, 3]`` of :func:`counts`.
        types: the types in order.
    """
    total = table.sum((0, 1))
    values = {"f1": f1(total), "precision": precision(total), "recall": recall(total)}
    return {
        **values,
        **{f"f1_{name}": f1(sums) for name, sums in zip(types, table.sum(0), strict=True)},
    }
