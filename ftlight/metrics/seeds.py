"""Runs of several seeds measured on the same rows: their spread, and whether others are better."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ftlight.metrics.statistics import Z, mcnemar, paired_bootstrap, wilson

POINTS = 4001  # of an integral: Student's t to 1e-9


class Spread(NamedTuple):
    """The mean score of runs that differ in their seed, and what it may be by chance.

    Attributes:
        mean: over runs and rows.
        low: lower end of its 95 % interval over draws of rows; of shares Wilson's.
        high: upper end.
        seeds: half its 95 % interval over seeds, by Student's t; None of a single run.
        sd: standard deviation of the runs' scores; None of a single run.
    """

    mean: float
    low: float
    high: float
    seeds: float | None
    sd: float | None


class Difference(NamedTuple):
    """How much better new runs are than old ones.

    Attributes:
        gain: mean score of the new ones less that of the old ones.
        low: lower end of its 95 % interval.
        high: upper end.
        p: two-sided p-value of no difference, on other rows and with other seeds.
        p_rows: the same, with these seeds on other rows.
        p_seeds: the same, with other seeds on these rows; None of a single run each.
    """

    gain: float
    low: float
    high: float
    p: float
    p_rows: float
    p_seeds: float | None


def spread(scores: np.ndarray) -> Spread:
    """Sums up runs of several seeds.

    Args:
        scores: score of each row by each run, ``float [runs, rows]``.

    >>> spread(np.array([[1.0, 0, 1, 1], [1, 1, 1, 1]])).mean
    0.875
    """
    by_row, by_run = scores.mean(0), scores.mean(1)
    mean, error = float(by_row.mean()), _error(by_row)
    low, high = mean - Z * error, mean + Z * error
    if _are_shares(scores):  # of as many rows as give a share this error
        low, high = wilson(mean, mean * (1 - mean) / error**2 if error else len(by_row))
    if len(by_run) < 2:
        return Spread(mean, low, high, None, None)
    seeds = student_quantile(len(by_run) - 1) * _error(by_run)
    return Spread(mean, low, high, seeds, float(by_run.std(ddof=1)))


def _are_shares(scores: np.ndarray) -> bool:
    return bool((scores >= 0).all() and (scores <= 1).all())


def difference(new: np.ndarray, old: np.ndarray) -> Difference:
    """Compares runs, one or several seeds of each, on the same rows.

    Of a run each: McNemar's test if a row is right or wrong, else the paired bootstrap. Of several:
    the difference of their means has the error of the rows (the paired bootstrap of each row's mean
    over seeds) and of the seeds (Welch 1947), whose squares add up, as those of crossed factors do.
    A single run beside several is taken to spread as they do.

    Args:
        new: score of each row by each new run, ``float [runs, rows]``; more is better.
        old: the same of the old runs.

    Raises:
        ValueError: there are no rows, not as many of both, or a score is not finite.
    """
    paired = paired_bootstrap(new.mean(0), old.mean(0))
    if paired.half == 0 and _are_shares(new) and _are_shares(old):
        # no row differs: others may, as rarely as Wilson's upper end for none of these rows
        paired = paired._replace(half=wilson(0.0, paired.rows)[1])
    p_rows = min(1.0, 2 * min(paired.better, 1 - paired.better))
    if len(new) == len(old) == 1:
        if np.isin([new[0], old[0]], [0, 1]).all():
            p_rows = mcnemar(new[0], old[0])
        low, high = paired.gain - paired.half, paired.gain + paired.half
        return Difference(paired.gain, low, high, p_rows, p_rows, None)
    known = [runs for runs in (new, old) if len(runs) > 1]
    parts = []
    for runs in (new, old):
        like = runs if len(runs) > 1 else known[0]
        parts.append((float(like.mean(1).var(ddof=1)) / len(runs), len(like) - 1))
    p_seeds, _ = _welch(paired.gain, parts)
    # what is neither the row's nor the seed's own is in both errors
    twice = sum(_rest(runs) for runs in (new, old))
    rows = max(0.0, (paired.half / Z) ** 2 - twice)
    p, half = _welch(paired.gain, [*parts, (rows, max(1, paired.rows - 1))])
    return Difference(paired.gain, paired.gain - half, paired.gain + half, p, p_rows, p_seeds)


def _welch(gain: float, parts: list[tuple[float, int]]) -> tuple[float, float]:
    """Two-sided p-value of a difference, and half its 95 % interval (Satterthwaite 1946).

    Args:
        gain: the difference.
        parts: squared standard errors of what it consists of, with the degrees of freedom of each.
    """
    total = sum(variance for variance, _ in parts)
    if total <= 0:
        return float(gain == 0), 0.0
    freedom = total**2 / sum(variance**2 / own for variance, own in parts)
    return student(gain / math.sqrt(total), freedom), student_quantile(freedom) * math.sqrt(total)


def student(t: float, freedom: float) -> float:
    """Two-sided p-value of Student's t (1908), by Simpson's rule over its angle.

    Args:
        t: the statistic.
        freedom: degrees of freedom, at least 1.

    >>> round(student(2.776445, 4), 6), student(0, 3)
    (0.05, 1.0)
    """
    angle = math.atan2(abs(t), math.sqrt(freedom))
    tail, whole = (_cosines(start, max(1.0, freedom)) for start in (angle, 0.0))
    return min(1.0, tail / whole)


def _cosines(start: float, freedom: float) -> float:
    """The integral of cos ** (freedom - 1) from an angle to a right angle."""
    weights = np.where(np.arange(POINTS) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1.0
    angles = np.linspace(start, math.pi / 2, POINTS)
    values = np.cos(angles).clip(0) ** (freedom - 1)
    return float((weights * values).sum()) * (math.pi / 2 - start) / (POINTS - 1) / 3


def student_quantile(freedom: float, share: float = 0.95) -> float:
    """The t beyond which, on both sides, the rest of Student's distribution lies.

    >>> round(student_quantile(4), 3)
    2.776
    """
    low, high = 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student(middle, freedom) > 1 - share else (low, middle)
    return middle


def _rest(scores: np.ndarray) -> float:
    """Part of the squared error of a mean that is of the single score: of no row, of no run."""
    runs, rows = scores.shape
    if runs < 2 or rows < 2:
        return 0.0
    rest = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
    return float(np.square(rest).sum()) / ((runs - 1) * (rows - 1)) / scores.size


def _error(values: np.ndarray) -> float:
    """Standard error of a mean; 0 of a single value."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
