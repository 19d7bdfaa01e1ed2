"""95 % intervals of scores."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

NAN = float("nan")


def wilson(share: float, rows: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927), sound for few rows and at 0 and 1.

    >>> [round(x, 3) for x in wilson(0.9, 30)]
    [0.744, 0.965]
    """
    z = 1.959964
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = (
        z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def fisher(correlation: float, rows: int) -> tuple[float, float]:
    """95 % interval of Pearson's correlation by Fisher's transformation; nan for fewer than 4 rows."""
    if rows < 4 or abs(correlation) >= 1:
        return NAN, NAN
    z, half = math.atanh(correlation), 1.959964 / math.sqrt(rows - 3)
    return math.tanh(z - half), math.tanh(z + half)


def bootstrap(
    parts: Tensor, statistic: Callable[[Tensor], float], draws: int = 1000
) -> tuple[float, float]:
    """95 % interval by resampling rows with a fixed seed (Efron 1979), of a score that is a function of sums over rows.

    Args:
        parts: what each row adds ``[rows, k]``: its true and false positives, its value and 1, ….
        statistic: the score of the sums ``[k]``.
        draws: number of resamples.

    >>> bootstrap(torch.tensor([[1.0, 1.0]] * 9), lambda sums: float(sums[0] / sums[1]))
    (1.0, 1.0)
    """
    rows = len(parts)
    if rows == 0:
        return NAN, NAN
    parts, generator = parts.double(), torch.Generator().manual_seed(0)
    values = []
    for _ in range(draws):
        times = torch.bincount(
            torch.randint(rows, (rows,), generator=generator), minlength=rows
        )  # how often each row is drawn
        values.append(statistic(times.double() @ parts))
    known = torch.tensor([v for v in values if v == v], dtype=torch.double)
    if len(known) == 0:
        return NAN, NAN
    low, high = known.quantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    return low, high
