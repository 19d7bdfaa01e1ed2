"""Whether one model is better than another on the same rows, and what several tests say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

DRAWS = 1000
Z = 1.959964  # of 95 %
CELLS = 1 << 22  # random numbers drawn at once
MOST_EXACT = 3000  # rows of an exact test, which takes their square


class Comparison(NamedTuple):
    """Two models on the same rows, compared row by row.

    Attributes:
        gain: mean of the differences, new minus old.
        half: half the width of its 95 % interval.
        better: probability that the new one is better, by resampling; 0.5 if they are equal.
        rows: rows compared.
    """

    gain: float
    half: float
    better: float
    rows: int


def wilson(share: float, rows: float, z: float = Z) -> tuple[float, float]:
    """Interval of a share (Wilson 1927), sound for few rows and at 0 and 1.

    Args:
        share: 0 to 1.
        rows: trials; a fraction for the effective number of them.
        z: quantile of the normal distribution. Default: that of 95 %.

    >>> [round(x, 3) for x in wilson(0.9, 30)]
    [0.744, 0.965]
    """
    shrink = 1 + z * z / rows
    middle = (share + z * z / (2 * rows)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return max(0.0, middle - half), min(1.0, middle + half)


def paired_bootstrap(
    new: np.ndarray, old: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> Comparison:
    """Compares two models by the mean of a score per row, resampling rows (Efron 1979).

    Each draw takes as many rows as there are, with replacement, and the same ones of both models
    (Koehn 2004, "Statistical significance tests for machine translation evaluation").

    Args:
        new: score of each row by the new model, ``float [rows]``; more is better.
        old: the same by the old model, in the same order of rows.
        draws: number of resamples.
        seed: seed of the resamples.

    Raises:
        ValueError: there are no rows, not as many of both, or a score is not finite.

    >>> paired_bootstrap(np.array([1.0, 1, 1, 1]), np.array([0.0, 1, 0, 1])).gain
    0.5
    >>> paired_bootstrap(np.ones(9), np.ones(9))
    Comparison(gain=0.0, half=0.0, better=0.5, rows=9)
    """
    differences = np.asarray(new, float) - np.asarray(old, float)
    if not len(differences) or not np.isfinite(differences).all():
        raise ValueError("scores of at least one row are needed, and finite ones")
    means, count = _resampled_means(differences, draws, seed), len(differences)
    low, high = np.quantile(means, [0.025, 0.975])
    # equal draws speak for neither
    better = float(np.mean(means > 0) + np.mean(means == 0) / 2)
    return Comparison(float(differences.mean()), float(high - low) / 2, better, count)


def mcnemar(new: np.ndarray, old: np.ndarray) -> float:
    """Tests whether two models are right equally often: the mid-p value of McNemar's (1947) test.

    Only rows that one of them has right count; if both are as good, either has half of these. The
    p-value is exact, but for half the probability of what was seen, without which the test would
    find too little (Fagerland, Lydersen and Laake 2013).

    Args:
        new: whether each row is right by the new model, ``bool [rows]``.
        old: the same by the old model, in the same order of rows.

    Returns:
        Two-sided p-value; 1.0 if they differ in no row.

    Raises:
        ValueError: there are no rows, not as many of both, or a value is neither 0 nor 1.

    >>> won, lost, both = [1, 0], [0, 1], [1, 1]
    >>> new, old = np.array([won] * 7 + [lost] + [both] * 13).T
    >>> round(mcnemar(new, old), 4)
    0.0391
    """
    new, old = np.asarray(new), np.asarray(old)
    if not len(new) or new.shape != old.shape or not np.isin([new, old], [0, 1]).all():
        raise ValueError("right or wrong of at least one row is needed, of as many by both models")
    differ = int((new != old).sum())
    fewer = min(int((new > old).sum()), int((new < old).sum()))
    # logarithms of k!, so that binomial coefficients of many rows do not overflow
    factorials = np.concatenate([[0.0], np.log(np.arange(1, differ + 1)).cumsum()])
    k = np.arange(fewer + 1)
    logs = factorials[differ] - factorials[k] - factorials[differ - k] - differ * math.log(2)
    chances = np.exp(logs)
    return float(min(1.0, 2 * chances.sum() - chances[-1]))


def random_score(scores: np.ndarray, chance: np.ndarray) -> float:
    """Tests whether the scores of rows are better than those to expect by chance.

    Of rows that are right or wrong the p-value is exact: their number has a Poisson binomial
    distribution (Poisson 1837). Of other scores, and of thousands of rows, it is that of a z-test
    of the mean difference.

    Args:
        scores: score of each row ``[rows]``.
        chance: the score to expect of it ``[rows]``, such as the chance that it is right.

    Returns:
        One-sided p-value.

    >>> random_score(np.ones(5), np.full(5, 0.5))
    0.03125
    """
    if len(scores) <= MOST_EXACT and np.isin(scores, [0, 1]).all():
        shares = np.array([1.0])  # the probability of each number of right rows
        for p in np.clip(chance, 0, 1):
            shares = np.append(shares * (1 - p), 0.0) + np.append(0.0, shares * p)
        return float(min(1.0, shares[int(scores.sum()) :].sum()))
    differences = scores - chance
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    if error == 0:
        return float(differences.mean() <= 0)
    return math.erfc(float(differences.mean()) / error / math.sqrt(2)) / 2


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values of several tests for their number (Holm 1979), in the given order.

    Those below 0.05 are then all true but in 5 % of such families of tests.

    Raises:
        ValueError: one is not between 0 and 1.

    >>> holm([0.01, 0.04, 0.03, 0.005])
    [0.03, 0.06, 0.06, 0.02]
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError("p-values must lie between 0 and 1")
    adjusted, highest = [0.0] * len(p_values), 0.0
    for i, number in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - i) * p_values[number]))
        adjusted[number] = highest
    return adjusted


def two_sided(z: float) -> float:
    """The two-sided p-value of a z-score.

    >>> round(two_sided(1.959964), 4)
    0.05
    """
    return math.erfc(abs(z) / math.sqrt(2))


def _resampled_means(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Means of resamples of values, ``float [draws]``."""
    random, count = np.random.default_rng(seed), len(values)
    at_once = max(1, CELLS // count)
    means = []
    for start in range(0, draws, at_once):
        size = (min(at_once, draws - start), count)
        means.append(values[random.integers(count, size=size)].mean(1))
    return np.concatenate(means)
