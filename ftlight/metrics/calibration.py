"""What a probability is worth: temperature, calibration error, thresholds that keep a goal, sets.

All of it is fitted on rows that trained nothing, best on those of :func:`held_out`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ftlight.metrics.statistics import wilson

HOTTEST = 64.0  # bound of a temperature; 1 / HOTTEST is the other
Z_ONE_SIDED = 1.644854  # of 95 % on one side
SPLIT_FROM = 1000  # rows of which half are kept apart


class HeldOut(NamedTuple):
    """Rows to calibrate on.

    Attributes:
        rows: their numbers in ascending order, ``int64 [held]``.
        apart: whether the other rows are left to choose the epoch by. If not, the rows are those
            that chose it, and what is fitted on them is a little too sure.
    """

    rows: Tensor
    apart: bool


def held_out(rows: int, seed: int = 0) -> HeldOut:
    """Chooses which validation rows calibrate: a random half of 1,000 or more, else all of them.

    Args:
        rows: number of validation rows.
        seed: seed of the choice.
    """
    if rows < SPLIT_FROM:
        return HeldOut(torch.arange(rows), False)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    return HeldOut(order[: rows // 2].sort().values, True)


# Probabilities


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Fits the temperature by which to divide logits: the one of least loss (Guo et al. 2017).

    The loss is convex in the inverse temperature, so its slope is bisected.

    Args:
        logits: ``[rows, classes]``.
        targets: class of each row ``[rows]``, for probabilities by softmax; or 0 and 1 of several
            labels ``[rows, labels]``, for those by sigmoid and one temperature.

    Returns:
        1 / 64 to 64; 1.0 if the loss falls up to a bound or is flat, as if all rows are right.

    Raises:
        ValueError: there are no rows, or a logit is not finite.
    """
    _check(logits, "logits")
    logits = logits.double()
    members = one_hot(targets, logits.shape[1]) if targets.ndim == 1 else targets

    def slope(sharpness: float) -> float:
        scaled = logits * sharpness
        p = scaled.softmax(1) if targets.ndim == 1 else scaled.sigmoid()
        return (logits * (p - members)).sum().item()

    low, high = -math.log(HOTTEST), math.log(HOTTEST)
    if not slope(math.exp(low)) < 0 < slope(math.exp(high)):
        return 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) < 0 else (low, middle)
    return math.exp(-(low + high) / 2)


def calibration_error(confidence: Tensor, right: Tensor, bins: int = 15) -> float:
    """Expected calibration error: mean gap between confidence and accuracy in equal bins.

    The definition is that of Naeini et al. (2015).

    Args:
        confidence: probability of the predicted class ``[rows]``.
        right: whether the prediction is correct ``[rows]``.
        bins: number of bins.
    """
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    difference = right.double() - confidence.double()
    gap = torch.zeros(bins, dtype=torch.double).index_add_(0, index, difference)
    return (gap.abs().sum() / len(right)).item()


def calibration_floor(confidence: Tensor, bins: int = 15, draws: int = 200, seed: int = 0) -> float:
    """Calibration error that a perfectly calibrated model would show by chance, the median.

    It is far from 0 with few rows: a model is only to blame for what lies above. Rows are right or
    wrong at random, with their confidence for a probability (Vaicenavicius et al. 2019).

    Args:
        confidence: probability of the predicted class ``[rows]``.
        bins: number of bins.
        draws: times that rows are drawn.
        seed: seed of the draws.

    Raises:
        ValueError: there are no rows, or a confidence is not finite.
    """
    _check(confidence, "confidences")
    confidence, random = confidence.double().cpu(), torch.Generator().manual_seed(seed)
    errors = []
    for _ in range(draws):
        right = torch.rand(len(confidence), generator=random, dtype=torch.double) < confidence
        errors.append(calibration_error(confidence, right, bins))
    return torch.tensor(errors, dtype=torch.double).quantile(0.5).item()


# Thresholds


def selective_threshold(confidence: Tensor, right: Tensor, goal: float) -> float | None:
    """Finds how sure to be to answer a row, and be right with a probability of the goal or more.

    Thresholds are tried from the most confident row down, rows of equal confidence together. One
    holds if Wilson's lower bound (one side, 95 %) of the accuracy of its rows is the goal at least.
    The first few rows are too few for any bound, so the trial begins with the first threshold that
    holds; it ends with the first after it that fails, since any that held by chance further down
    would be the luckiest of many (Bauer 1991; Geifman and El-Yaniv 2017).

    Args:
        confidence: probability of the predicted class ``[rows]``.
        right: whether the prediction is correct ``[rows]``.
        goal: share of answered rows that are to be right, between 0 and 1.

    Returns:
        The lowest confidence to answer; None if none keeps the goal, see :func:`rows_needed`.

    Raises:
        ValueError: there are no rows, a confidence is not finite, or the goal is not between 0
            and 1.
    """
    _check(confidence, "confidences")
    _check_share(goal, "goal")
    tried, inverse, counts = torch.unique(confidence, return_inverse=True, return_counts=True)
    hits = torch.zeros(len(tried), dtype=torch.double).index_add_(0, inverse, right.double())
    found, hit, answered = None, 0.0, 0
    for i in reversed(range(len(tried))):
        hit, answered = hit + hits[i].item(), answered + int(counts[i])
        if wilson(hit / answered, answered, Z_ONE_SIDED)[0] >= goal:
            found = tried[i].item()
        elif found is not None:
            break
    return found


def rows_needed(goal: float) -> int:
    """Rows, all of them right, without which :func:`selective_threshold` finds none.

    Raises:
        ValueError: the goal is not between 0 and 1.

    >>> rows_needed(0.95), rows_needed(0.98)
    (52, 133)
    """
    _check_share(goal, "goal")
    return math.ceil(goal * Z_ONE_SIDED**2 / (1 - goal))


# Sets and ranges that hold the truth


def conformal_quantile(scores: Tensor, coverage: float) -> float:
    """The score that a new row exceeds with a probability of 1 - coverage at most.

    It is the ⌈(n + 1) · coverage⌉-th smallest of n (split conformal prediction: Papadopoulos et al.
    2002); inf if that exceeds n. The coverage is an average over draws of the n rows.

    Args:
        scores: how badly each row fits its truth ``[rows]``: 1 minus the probability of the true
            class for :func:`prediction_sets`; the absolute error of a number, for which the
            quantile is half the width of its range.
        coverage: share of new rows, between 0 and 1.

    Raises:
        ValueError: there are no rows, a score is not finite, or the coverage is not between 0
            and 1.

    >>> conformal_quantile(torch.arange(1.0, 20.0), 0.9), conformal_quantile(torch.ones(5), 0.9)
    (18.0, inf)
    """
    _check(scores, "scores")
    _check_share(coverage, "coverage")
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)  # 100 · .55 is a little more than 55
    return math.inf if rank > len(scores) else scores.double().sort().values[rank - 1].item()


def true_class_scores(probabilities: Tensor, targets: Tensor) -> Tensor:
    """1 minus the probability of the true class ``[rows]`` (Sadinle, Lei and Wasserman 2019).

    Args:
        probabilities: ``[rows, classes]``.
        targets: class of each row ``[rows]``.
    """
    return 1 - probabilities.gather(1, targets[:, None]).squeeze(1)


def prediction_sets(probabilities: Tensor, quantile: float) -> Tensor:
    """Classes that may be true, bool ``[rows, classes]``, by least ambiguous sets (LAC).

    A set is all classes whose score, 1 minus their probability, does not exceed the quantile of
    :func:`conformal_quantile`; an empty one is filled with the most probable class.

    Args:
        probabilities: ``[rows, classes]``.
        quantile: of the scores of true classes (:func:`true_class_scores`).

    Raises:
        ValueError: there are no rows, or a probability is not finite.
    """
    _check(probabilities, "probabilities")
    best = one_hot(probabilities.argmax(1), probabilities.shape[1]).bool()
    return (1 - probabilities <= quantile) | best


def _check(values: Tensor, name: str) -> None:
    """Raises ValueError if there are none, or one is not finite."""
    if not len(values):
        raise ValueError(f"{name} of at least one row are needed")
    if not bool(values.isfinite().all()):
        raise ValueError(f"{name} must be finite; {int((~values.isfinite()).sum())} are not")


def _check_share(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise ValueError(f"the {name} must lie between 0 and 1, not {value}")
