"""95 % intervals of scores.

Percentiles of resamples, the usual way, cover too seldom: a score near the end of its range hardly
varies from resample to resample (a span F1 of .99 on 30 rows was covered in 56 % of test sets),
and a macro average loses rare classes in them. `scripts/bench/intervals.py` counts how often the
intervals here cover.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ftlight.metrics.statistics import Z, wilson

NAN = float("nan")
UNIT = (0.0, 1.0)
UNBOUNDED = (-math.inf, math.inf)
CELLS = 1 << 22  # random numbers drawn at once


def bootstrap(
    parts: Tensor,
    statistic: Callable[[Tensor], float],
    draws: int = 1000,
    bounds: tuple[float, float] = UNBOUNDED,
) -> tuple[float, float]:
    """95 % interval by resampling rows with a fixed seed (Efron 1979); see :func:`around`.

    The score must be a function of sums over rows.

    Args:
        parts: terms of those sums for each row ``[rows, k]``: true and false positives, value and
            1, ….
        statistic: computes the score from the sums ``[k]``; nan if undefined.
        draws: number of resamples.
        bounds: least and greatest value that the score can have.

    Returns:
        Lower and upper end; nan if the score is undefined.

    >>> share = lambda sums: float(sums[0] / sums[1])
    >>> low, high = bootstrap(torch.tensor([[1.0, 1.0]] * 9), share, bounds=(0, 1))
    >>> round(low, 2), high
    (0.7, 1.0)
    """
    if not len(parts):
        return NAN, NAN
    score = statistic(parts.double().sum(0))
    return around(score, resample(parts, statistic, draws), len(parts), bounds)


def resample(parts: Tensor, statistic: Callable[[Tensor], float], draws: int) -> Tensor:
    """Scores of resamples of the rows, ``double [draws]``; arguments as of :func:`bootstrap`."""
    rows, generator = len(parts), torch.Generator().manual_seed(0)
    parts, at_once, values = parts.double(), max(1, CELLS // len(parts)), []
    for start in range(0, draws, at_once):
        count = min(at_once, draws - start)
        drawn = torch.randint(rows, (count, rows), generator=generator)
        drawn += torch.arange(count)[:, None] * rows
        times = torch.bincount(drawn.flatten(), minlength=count * rows).reshape(count, rows)
        values += [statistic(sums) for sums in times.double() @ parts]
    return torch.tensor(values, dtype=torch.double)


def around(
    score: float, resampled: Tensor, rows: int, bounds: tuple[float, float] = UNBOUNDED
) -> tuple[float, float]:
    """95 % interval of a score from the scores of resamples.

    Their root mean squared distance from the score stands for its standard error: unlike their
    standard deviation it counts that resamples of few rows are biased, too. A bounded score is
    taken as a share of as many rows as give a share this error, its effective rows, by Wilson's
    interval (Korn and Graubard 1998, for surveys); others as of Student's t distribution.

    Args:
        score: the score of all rows.
        resampled: scores of resamples ``[draws]``; those that are not finite are left out.
        rows: number of rows.
        bounds: least and greatest value that the score can have.

    Returns:
        Lower and upper end, nan if nothing is known of them.
    """
    resampled = resampled[resampled.isfinite()]
    if not math.isfinite(score) or not len(resampled):
        return NAN, NAN
    # sums round: a BLEU of 100.00000000000004
    low, high = min(bounds[0], score), max(bounds[1], score)
    distance = resampled.clamp(low, high) - score
    error = distance.square().mean().sqrt().item() * _widening(rows)
    if error <= 1e-9 * max(1.0, abs(score)) or score in (low, high):
        return _without_spread(score, rows, (low, high))
    if not math.isfinite(high - low):
        return max(low, score - Z * error), min(high, score + Z * error)
    share, error = (score - low) / (high - low), error / (high - low)
    ends = wilson(share, share * (1 - share) / error**2)
    return low + ends[0] * (high - low), low + ends[1] * (high - low)


def _widening(rows: int) -> float:
    """Factor of a standard error that few rows tell: n - 1 for n, and Student's t for normal.

    The quantile of t is Cornish and Fisher's (1937) to the first order: 2 % too small at 10 rows.
    """
    freedom = max(1, rows - 1)
    return math.sqrt((freedom + 1) / freedom) * (1 + (Z * Z + 1) / (4 * freedom))


def _without_spread(score: float, rows: int, bounds: tuple[float, float]) -> tuple[float, float]:
    """Ends of a score that all rows have: others may be rare, yet have any score within bounds.

    How many others there may be is Wilson's upper end for 0 of the rows; at a bound these ends are
    Wilson's. nan where there is no bound.
    """
    others = wilson(0.0, rows)[1]
    low, high = score - others * (score - bounds[0]), score + others * (bounds[1] - score)
    return low if math.isfinite(low) else NAN, high if math.isfinite(high) else NAN
