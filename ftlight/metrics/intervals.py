"""95 % intervals of scores."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

NAN = float("nan")
Z = 1.959964  # of 95 %


def wilson(share: float, rows: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927), sound for few rows and at 0 and 1.

    >>> [round(x, 3) for x in wilson(0.9, 30)]
    [0.744, 0.965]
    """
    shrink = 1 + Z * Z / rows
    middle = (share + Z * Z / (2 * rows)) / shrink
    half = Z / shrink * math.sqrt(share * (1 - share) / rows + Z * Z / (4 * rows * rows))
    return max(0.0, middle - half), min(1.0, middle + half)


def fisher(correlation: float, rows: int) -> tuple[float, float]:
    """95 % interval of Pearson's correlation by Fisher's transformation; nan for under 4 rows."""
    if rows < 4 or abs(correlation) >= 1:
        return NAN, NAN
    middle, half = math.atanh(correlation), Z / math.sqrt(rows - 3)
    return math.tanh(middle - half), math.tanh(middle + half)


def bootstrap(
    parts: Tensor, statistic: Callable[[Tensor], float], draws: int = 1000
) -> tuple[float, float]:
    """95 % interval by resampling rows with a fixed seed (Efron 1979).

    The score must be a function of sums over rows.

    Args:
        parts: terms of those sums for each row ``[rows, k]``: true and false positives, value and
            1, ….
        statistic: computes the score from the sums ``[k]``; nan if undefined.
        draws: number of resamples.

    Returns:
        Lower and upper end; nan if no resample has a score.

    >>> bootstrap(torch.tensor([[1.0, 1.0]] * 9), lambda sums: float(sums[0] / sums[1]))
    (1.0, 1.0)
    """
    rows = len(parts)
    if rows == 0:
        return NAN, NAN
    parts, generator = parts.double(), torch.Generator().manual_seed(0)
    values = []
    for _ in range(draws):
        drawn = torch.randint(rows, (rows,), generator=generator)
        times = torch.bincount(drawn, minlength=rows)
        values.append(statistic(times.double() @ parts))
    defined = torch.tensor([v for v in values if not math.isnan(v)], dtype=torch.double)
    if len(defined) == 0:
        return NAN, NAN
    low, high = defined.quantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    return low, high
