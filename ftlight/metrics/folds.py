"""What the folds of a cross-validation say together, and how long to train on all rows."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
import torch

from ftlight.metrics.collected import Rows


class Score(NamedTuple):
    """A metric of a cross-validation.

    Attributes:
        value: that of all rows at once, each by the model that was not trained on it.
        low: lower end of its 95 % interval; None if it has none.
        high: upper end.
        pooled: whether the value is of all rows at once; if not, it is the mean over folds by rows.
        mean: mean over folds.
        sd: their standard deviation.
        folds: the metric in each fold.
    """

    value: float
    low: float | None
    high: float | None
    pooled: bool
    mean: float
    sd: float
    folds: Sequence[float]


def score(
    values: Sequence[float],
    rows: Sequence[int],
    pooled: float | None,
    interval: tuple[float, float] | None,
) -> Score:
    """Puts a metric of folds together.

    Args:
        values: the metric in each fold.
        rows: rows of each fold.
        pooled: the metric of all rows at once; None if it is not known.
        interval: its 95 % interval, if it has one.

    >>> score([0.5, 0.8], [20, 10], None, None)[:4]
    (0.6, None, None, False)
    """
    weighted = sum(v * n for v, n in zip(values, rows, strict=True)) / sum(rows)
    value, ends = (weighted, None) if pooled is None else (pooled, interval)
    low, high = ends or (None, None)
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    return Score(value, low, high, pooled is not None, mean, sd, list(values))


def joined(parts: Sequence[Rows]) -> Rows:
    """Outputs or targets of folds one after another."""
    if any(isinstance(part, list) for part in parts):
        return [row for part in parts for row in part]
    return torch.cat([torch.as_tensor(part) for part in parts])


def steps_on_all(steps: Sequence[int], trained: Sequence[int], rows: int) -> int:
    """Optimizer steps on all rows: as many passes over them as the median fold made.

    Args:
        steps: steps of each fold.
        trained: rows that each was trained on.
        rows: all rows.

    >>> steps_on_all([80, 120, 100], [80, 80, 80], 100)
    125
    """
    return round(median(n * rows / own for n, own in zip(steps, trained, strict=True)))
