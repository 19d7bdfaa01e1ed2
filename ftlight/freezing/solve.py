"""The optimum of a linear head on fixed vectors: a convex problem, solved instead of stepped.

Minimises ``loss(x W' + b) + penalty / 2 |W - W0|²``: logistic regression or ridge, pulled towards
a start ``W0``. The penalty is the best of a path from strong to weak on rows held out, where each
head may first be scaled: a strong penalty makes it shy, which one factor undoes. So what counts is
what the head tells apart (refine, then calibrate: Berta et al. 2025, arXiv:2501.19195).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ftlight.freezing.linear import (
    Head,
    Vectors,
    axes_of,
    head_at,
    minimise,
    points_on,
)
from ftlight.models.losses import Loss

# Strong to weak, for vectors with a mean square of 1.
PENALTIES = tuple(10 ** (-n / 2) for n in range(-4, 13))
FOLDS = 5
ENOUGH = 2000  # vectors held out in turn: with more rows not all parts are
WORSE = 3  # penalties in a row, each no better than the best and the one before, end the path
GAIN = 1e-4  # what counts as lower, in units of the loss
TOLERANCE = 3e-4  # share of the objective that a step must gain
ON_PATH = 3e-3  # the same before the penalty is known
SCALES = (math.log(0.1), math.log(400))  # logarithms of the least and the largest factor
PRECISION = 0.05  # of that logarithm
GOLDEN = (math.sqrt(5) - 1) / 2


class Solution(NamedTuple):
    """A solved head.

    Attributes:
        head: the head.
        penalty: the penalty that was chosen.
        scale: the factor on the head that is best on the rows held out.
        losses: mean loss on the rows held out with the best factor, by the penalties tried.
        folds: parts of train, a fifth each, that were held out in turn; 0 if there was validation.
    """

    head: Head
    penalty: float
    scale: float
    losses: dict[float, float]
    folds: int


def solve(
    train: Vectors,
    loss: Loss,
    start: Head,
    validation: Vectors | None = None,
    *,
    seed: int = 0,
    penalties: Sequence[float] = PENALTIES,
    tolerance: float = TOLERANCE,
    scales: bool = True,
) -> Solution:
    """Solves a head, with the penalty that has the lowest loss on rows held out.

    Args:
        train: vectors to learn.
        loss: their mean loss, and that of those held out.
        start: what the penalty pulls the weight towards, 0 if nothing is known. The bias is free;
            a head without one stays so.
        validation: vectors held out. Default: those of five parts of train in turn, or of as many
            as hold 2,000.
        seed: decides which rows are in which part.
        penalties: those to try, from strong to weak.
        tolerance: share of the objective that a step must gain.
        scales: whether the head is scaled; that of numbers never is.

    Raises:
        ValueError: train has a single row, and there is no validation.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> line = Vectors(torch.arange(4), x, 2 * x[:, 0] + 1)
    >>> start = Head(torch.zeros(1, 1), torch.zeros(1))
    >>> found = solve(line, Loss("regression"), start, line, penalties=[1e-7]).head
    >>> [round(value.item(), 3) for value in found]
    [2.0, 1.0]
    """
    if not all(bool(v.states.isfinite().all()) for v in (train, validation) if v is not None):
        raise ValueError("its vectors are not finite")
    axes = axes_of(train.states, centred=start.bias is not None)
    points = points_on(axes, train, start)
    if validation is None:
        parts = folds(train, seed, by_class=loss.kind == "single")
        if not parts.any():
            raise ValueError("a single row cannot be divided")
        wanted = min(int(parts.max()) + 1, -(-ENOUGH * FOLDS // len(parts)))
        splits = [(points.take(parts != i), points.take(parts == i)) for i in range(wanted)]
    else:
        splits = [(points, points_on(axes, validation, start))]
    scales = scales and loss.kind != "regression"
    targets = torch.cat([outer.targets for _, outer in splits])
    moved = [points.still() for _ in splits]
    tried: dict[float, Scaled] = {}
    best, worse, before = moved[0], 0, math.inf
    for penalty in penalties:
        outputs = []
        for i, (inner, outer) in enumerate(splits):
            moved[i] = minimise(inner, loss, axes, penalty, moved[i], ON_PATH)
            outputs.append(outer.outputs(moved[i]))
        least = min((found.loss for found in tried.values()), default=math.inf)
        tried[penalty] = found = scaled(torch.cat(outputs), targets, loss, scales)
        best = moved[0] if found.loss < least else best
        learned = least < tried[penalties[0]].loss - GAIN  # the strongest are all alike
        # a loss that falls again after one that was low by chance does not end the path
        rises = found.loss > max(least, before) - GAIN
        worse, before = (worse + 1 if learned and rises else 0), found.loss
        if worse == WORSE:
            break
    chosen = min(tried, key=lambda penalty: tried[penalty].loss)
    best = minimise(points, loss, axes, chosen, best, tolerance)
    weight, bias = head_at(axes, best, start)
    factor = tried[chosen].factor
    head = Head(weight * factor, None if bias is None else bias * factor)
    losses = {penalty: found.loss for penalty, found in tried.items()}
    return Solution(head, chosen, factor, losses, 0 if validation is not None else len(splits))


def out_of_fold(train: Vectors, loss: Loss, start: Head, *, seed: int = 0) -> Tensor:
    """Outputs for each vector of a head that was solved without it, ``float [vectors, outputs]``.

    Five heads, each on four fifths of the rows, with the penalty and the factor that are best.

    Args:
        train: vectors to learn.
        loss: their mean loss.
        start: what the penalty pulls the weight towards.
        seed: decides which rows are in which part.

    Raises:
        ValueError: there is a single row.
    """
    found = solve(train, loss, start, seed=seed)
    axes = axes_of(train.states, centred=start.bias is not None)
    points = points_on(axes, train, start)
    parts = folds(train, seed, by_class=loss.kind == "single")
    outputs = torch.zeros_like(points.start)
    for part in range(int(parts.max()) + 1):
        inner, outer = points.take(parts != part), points.take(parts == part)
        # from the start: the head of another part has seen these rows, and would remember some
        moved = minimise(inner, loss, axes, found.penalty, points.still(), ON_PATH)
        outputs[parts == part] = outer.outputs(moved) * found.scale
    return outputs


class Scaled(NamedTuple):
    """The loss of outputs with the factor that is best on them."""

    loss: float
    factor: float


def scaled(outputs: Tensor, targets: Tensor, loss: Loss, scales: bool = True) -> Scaled:
    """The factor on outputs of rows held out that makes their loss least, and that loss.

    A factor far from 1 is held against it as one row is, by half the square of its logarithm:
    rows that are all right would else ask for an endless one.

    Args:
        outputs: those of a head, ``[rows, outputs]``.
        targets: what they should be.
        loss: their loss.
        scales: whether the factor may differ from 1.

    >>> shy, right = Tensor([[0.1, -0.1], [-0.1, 0.1]]), torch.tensor([0, 1])
    >>> scaled(shy.repeat(20, 1), right.repeat(20), Loss("single")).factor > 10
    True
    """

    def at(logarithm: float) -> float:
        own = float(loss.of(outputs * math.exp(logarithm), targets))
        return own + logarithm**2 / (2 * len(outputs))

    if not scales:
        return Scaled(at(0.0), 1.0)
    # golden section: convex in the factor, so with a single minimum in its logarithm
    low, high = SCALES
    inner, outer = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    value_inner, value_outer = at(inner), at(outer)
    while high - low > PRECISION:
        if value_inner < value_outer:
            high, outer, value_outer = outer, inner, value_inner
            inner = high - GOLDEN * (high - low)
            value_inner = at(inner)
        else:
            low, inner, value_inner = inner, outer, value_outer
            outer = low + GOLDEN * (high - low)
            value_outer = at(outer)
    return Scaled(min(value_inner, value_outer), math.exp((low + high) / 2))


def folds(vectors: Vectors, seed: int, by_class: bool) -> Tensor:
    """The part of train that each vector is in, ``int64 [vectors]``.

    Args:
        vectors: those of train; all of a row are in one part.
        seed: shuffles the rows.
        by_class: whether each part has its share of each class, if a row has one vector.
    """
    rows, of_vector = torch.unique(vectors.rows, return_inverse=True)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rows), generator=generator).to(rows.device)
    if by_class and len(rows) == len(vectors.rows):
        targets = torch.empty_like(vectors.targets)
        targets[of_vector] = vectors.targets
        order = order[targets[order].argsort(stable=True)]
    part = torch.empty_like(order)
    part[order] = torch.arange(len(rows), device=rows.device) % FOLDS
    return part[of_vector]
