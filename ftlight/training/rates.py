"""The rule of a range test: which learning rate the losses at rising rates speak for."""

from __future__ import annotations

import math
from collections.abc import Sequence

TRIED = 100  # rates
DECADES = 2  # below and above the default
SMOOTH = 0.98  # of the running mean of losses
DIVERGED = 4.0  # times the least loss


def tried(default: float, count: int = TRIED) -> list[float]:
    """Rates that rise by one factor from a hundredth of the default to a hundred times that.

    >>> [float(f"{rate:.3g}") for rate in tried(1e-3, 5)]
    [1e-05, 0.0001, 0.001, 0.01, 0.1]
    """
    return [default * 10 ** (DECADES * (2 * i / (count - 1) - 1)) for i in range(count)]


def smoothed(losses: Sequence[float]) -> list[float]:
    """Running means of losses, corrected for where they begin.

    >>> [round(mean, 3) for mean in smoothed([1.0, 2.0, 3.0])]
    [1.0, 1.505, 2.013]
    """
    mean, found = 0.0, []
    for number, loss in enumerate(losses, 1):
        mean = SMOOTH * mean + (1 - SMOOTH) * loss
        found.append(mean / (1 - SMOOTH**number))
    return found


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether the test is over: the smoothed loss is four times its least, or not finite."""
    means = smoothed(losses)
    return not math.isfinite(means[-1]) or means[-1] > DIVERGED * min(means)


def valley(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate in the middle of the longest fall of the smoothed loss.

    A range test (Smith 2017, "Cyclical learning rates for training neural networks"), read as
    fastai's ``lr_find`` does by default ("valley"): of the longest run of losses in order, each
    lower than the one before, the middle of its middle third.

    Args:
        rates: rates in order.
        losses: the loss of a step at each; those after the test has diverged are missing.

    >>> rates = tried(1e-3)
    >>> falls = [2 - min(i, 70) / 70 for i in range(100)]
    >>> f"{valley(rates, falls):.1g}"
    '0.001'
    """
    means = [mean for mean in smoothed(losses) if math.isfinite(mean)]
    lengths, first = [1] * len(means), list(range(len(means)))
    for end, mean in enumerate(means):
        for start in range(end):
            if mean < means[start] and lengths[end] < lengths[start] + 1:
                lengths[end], first[end] = lengths[start] + 1, first[start]
    last = max(range(len(means)), key=lengths.__getitem__)
    third = (last - first[last]) / 3
    return rates[first[last] + int(third) + int(third / 2)]


def rounded(rate: float) -> float:
    """A rate to two digits, as a person would write it."""
    return float(f"{rate:.1e}")
