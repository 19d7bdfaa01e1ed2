"""Precision, recall and F1 of spans; a span is right if its type, start and end all match."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

Span = tuple[str, int, int]
NAN = float("nan")


def counts(
    gold: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]], types: Sequence[str]
) -> Tensor:
    """Counts correct, predicted and actual spans by row and type.

    Args:
        gold: actual spans of each row.
        predicted: predicted spans of each row.
        types: all types, in order.

    Returns:
        ``double [rows, types, 3]``: correct, predicted, actual.
    """
    number = {name: i for i, name in enumerate(types)}
    table = torch.zeros(len(gold), len(types), 3, dtype=torch.double)
    for row, (golds, predictions) in enumerate(zip(gold, predicted, strict=True)):
        actual, proposed = set(golds), set(predictions)
        for column, spans in enumerate((actual & proposed, proposed, actual)):
            for name, *_ in spans:
                table[row, number[name], column] += 1
    return table


def precision(sums: Tensor) -> float:
    """Share of predicted spans that are correct; nan if none. ``sums [3]`` as in :func:`counts`."""
    return (sums[0] / sums[1]).item() if sums[1] else NAN


def recall(sums: Tensor) -> float:
    """Share of actual spans that were predicted; nan if there are none."""
    return (sums[0] / sums[2]).item() if sums[2] else NAN


def f1(sums: Tensor) -> float:
    """Harmonic mean of precision and recall; 0 if nothing is correct, nan if there are no spans.

    >>> f1(torch.tensor([1.0, 2.0, 2.0]))
    0.5
    """
    both = sums[1] + sums[2]
    return (2 * sums[0] / both).item() if both else NAN


def scores(table: Tensor, types: Sequence[str]) -> dict[str, float]:
    """Micro precision, recall and F1, and F1 of each type, as in seqeval's default mode.

    Args:
        table: ``[rows, types, 3]`` of :func:`counts`.
        types: all types, in order.
    """
    total = table.sum((0, 1))
    values = {"f1": f1(total), "precision": precision(total), "recall": recall(total)}
    for name, sums in zip(types, table.sum(0), strict=True):
        values[f"f1_{name}"] = f1(sums)
    return values
