"""Which of several models to keep by validation, and how much that choice flatters its score."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SURE = 0.75  # chance of being better from which a later, dearer model is taken
DRAWS = 400


def chance_better(new: np.ndarray, old: np.ndarray) -> float:
    """The chance that a model is better than another on further rows, by its paired difference.

    The mean difference over its standard error is taken as normal, without a prior.

    Args:
        new: score of each row by the new model, ``float [rows]``; more is better.
        old: the same by the old model.

    >>> round(chance_better(np.array([1.0, 1, 1, 0, 1]), np.array([1.0, 0, 1, 0, 1])), 3)
    0.868
    >>> chance_better(np.ones(4), np.ones(4))
    0.5
    """
    gaps = new - old
    mean, error = float(gaps.mean()), float(gaps.std()) / math.sqrt(len(gaps))
    if error == 0:
        return 0.5 + 0.5 * float(np.sign(mean))
    return 0.5 * math.erfc(-mean / error / math.sqrt(2))


def climb(scores: Sequence[np.ndarray]) -> int:
    """Number of the model to keep: of two that rows hardly tell apart, the earlier one.

    Args:
        scores: score of each row by each model, the simplest model first.

    >>> sure, unsure = np.array([1.0, 1, 1, 1, 1, 1]), np.array([1.0, 1, 0, 1, 1, 0])
    >>> climb([unsure, sure, sure]), climb([sure, unsure])
    (1, 0)
    """
    best = 0
    for number in range(1, len(scores)):
        if chance_better(scores[number], scores[best]) >= SURE:
            best = number
    return best


def flattery(scores: Sequence[np.ndarray], draws: int = DRAWS, seed: int = 0) -> float:
    """How much higher the score of the model that was chosen is than it will be on further rows.

    Models are chosen anew on a random half of the rows, whose score is compared with that of the
    other half, which chose nothing. The mean over halves is what a choice on half as many rows
    flatters by; as errors shrink with the root of the rows, it is divided by that of 2.

    Args:
        scores: score of each row by each model, the simplest model first.
        draws: number of halves.
        seed: their seed.

    >>> flattery([np.array([1.0, 0, 1, 0])])
    0.0
    """
    if len(scores) < 2:
        return 0.0  # nothing was chosen
    table, draw = np.stack(scores), np.random.default_rng(seed)
    half, gaps = table.shape[1] // 2, []
    if not half:
        return 0.0
    for _ in range(draws):
        order = draw.permutation(table.shape[1])
        chosen, others = table[:, order[:half]], table[:, order[half:]]
        gap = chosen.mean(1) - others.mean(1)
        # as much as all models rise by is chance, not choice
        gaps.append(float(gap[climb(list(chosen))] - gap.mean()))
    return max(0.0, float(np.mean(gaps)) / math.sqrt(2))
