"""Whether one model is better than another on the same rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

DRAWS = 1000
CELLS = 1 << 22  # random numbers drawn at once


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


def _resampled_means(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Means of resamples of values, ``float [draws]``."""
    random, count = np.random.default_rng(seed), len(values)
    at_once = max(1, CELLS // count)
    means = []
    for start in range(0, draws, at_once):
        size = (min(at_once, draws - start), count)
        means.append(values[random.integers(count, size=size)].mean(1))
    return np.concatenate(means)
