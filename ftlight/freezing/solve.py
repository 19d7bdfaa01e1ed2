"""The optimum of a linear head on fixed vectors: a convex problem, solved instead of stepped.

Minimises ``loss(x W' + b) + penalty / 2 |W - W0|²``: logistic regression or ridge, pulled towards
a start ``W0``. The penalty is the best of a path from strong to weak on rows held out.

Vectors are centred, brought to a mean square of 1 by one factor, and turned to their principal
axes. That changes the optimum only by the unit of the penalty, and on each axis the curvature has
a bound (Böhning 1992, Ann. Inst. Stat. Math. 44), which preconditions L-BFGS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ftlight.models.losses import Kind, Loss

# Strong to weak, for vectors with a mean square of 1.
PENALTIES = tuple(10 ** (-n / 2) for n in range(-2, 15))
FOLDS = 5
WORSE = 2  # penalties in a row without a lower loss that end the path
TOLERANCE = 1e-5  # of the objective: what a step must gain
STEPS = 200  # most steps of L-BFGS
MEMORY = 10  # steps that it remembers
# Bound on the second derivative of the loss by an output.
CURVATURE: dict[Kind, float] = {"single": 0.5, "multi": 0.25, "regression": 2.0}


class Vectors(NamedTuple):
    """What a linear head sees, and what it should give.

    Attributes:
        rows: number of the row that each is of, ``int64 [vectors]``.
        states: ``float [vectors, width]``.
        targets: see :meth:`ftlight.models.losses.Loss.of`.
    """

    rows: Tensor
    states: Tensor
    targets: Tensor


class Head(NamedTuple):
    """A linear layer: ``weight [outputs, width]``, and ``bias [outputs]`` or None."""

    weight: Tensor
    bias: Tensor | None


class Solution(NamedTuple):
    """A solved head.

    Attributes:
        head: the head.
        penalty: the penalty that was chosen.
        losses: mean loss on the rows held out, by the penalties that were tried.
        folds: parts of train that were held out in turn; 0 if there were validation rows.
    """

    head: Head
    penalty: float
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
) -> Solution:
    """Solves a head, with the penalty that has the lowest loss on rows held out.

    Args:
        train: vectors to learn.
        loss: their mean loss; class weights and label smoothing do not count on rows held out.
        start: what the penalty pulls the weight towards, 0 if nothing is known. The bias is free;
            a head without one stays so.
        validation: vectors held out. Default: those of each of five parts of train in turn.
        seed: decides which rows are in which part.
        penalties: those to try, from strong to weak.
        tolerance: share of the objective that a step must gain.

    Raises:
        ValueError: train has a single row, and there is no validation.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> line = Vectors(torch.arange(4), x, 2 * x[:, 0] + 1)
    >>> start = Head(torch.zeros(1, 1), torch.zeros(1))
    >>> found = solve(line, Loss("regression"), start, line, penalties=[1e-7]).head
    >>> [round(value.item(), 3) for value in found]
    [2.0, 1.0]
    """
    axes = _axes(train.states, centred=start.bias is not None)
    points = _points(axes, train, start)
    splits = [(points, _points(axes, validation, start))] if validation is not None else []
    if validation is None:
        parts = folds(train, seed, by_class=loss.kind == "single")
        splits = [(points.take(parts != i), points.take(parts == i)) for i in parts.unique()]
        if len(splits) < 2:
            raise ValueError("a single row cannot be divided")
    curvature, plain = CURVATURE[loss.kind] * axes.spread, Loss(loss.kind)
    moved = [start.weight.new_zeros(len(start.weight), points.axes.shape[1]) for _ in splits]
    losses: dict[float, float] = {}
    best, chosen = moved[0], penalties[0]
    for penalty in penalties:
        total = 0.0
        for i, (inner, outer) in enumerate(splits):
            moved[i] = _minimise(
                inner, loss, penalty * axes.penalised, curvature, moved[i], tolerance
            )
            total += float(plain.of(outer.outputs(moved[i]), outer.targets)) * len(outer.axes)
        losses[penalty] = total / sum(len(outer.axes) for _, outer in splits)
        chosen = min(losses, key=losses.__getitem__)
        if chosen == penalty:
            best = moved[0]
        if len(losses) - 1 - list(losses).index(chosen) == WORSE:
            break
    if validation is None:
        best = _minimise(points, loss, chosen * axes.penalised, curvature, moved[0], tolerance)
    return Solution(_head(axes, best, start), chosen, losses, 0 if validation else len(splits))


def folds(vectors: Vectors, seed: int, by_class: bool) -> Tensor:
    """The part of train that each vector is in, ``int64 [vectors]``.

    Args:
        vectors: those of train; all of a row are in one part.
        seed: shuffles the rows.
        by_class: whether each part has its share of each class, if a row has one vector.
    """
    rows, of_vector = vectors.rows.unique(return_inverse=True)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rows), generator=generator).to(rows.device)
    if by_class and len(rows) == len(vectors.rows):
        targets = torch.empty_like(vectors.targets)
        targets[of_vector] = vectors.targets
        order = order[targets[order].argsort(stable=True)]
    part = torch.empty_like(order)
    part[order] = torch.arange(len(rows), device=rows.device) % FOLDS
    return part[of_vector]


# The problem on principal axes


class _Axes(NamedTuple):
    """Principal axes: how vectors come to them, and what is known of them.

    Attributes:
        mean: what is taken off, ``[width]``.
        turn: ``[width, axes]``, of length 1 / factor.
        spread: mean square on each axis, with that of the constant 1 if there is a bias.
        penalised: 1 for each axis, 0 for that constant.
    """

    mean: Tensor
    turn: Tensor
    spread: Tensor
    penalised: Tensor


class _Points(NamedTuple):
    """Vectors on principal axes ``[vectors, axes]``, the start's outputs, and the targets."""

    axes: Tensor
    start: Tensor
    targets: Tensor

    def take(self, which: Tensor) -> _Points:
        return _Points(self.axes[which], self.start[which], self.targets[which])

    def outputs(self, moved: Tensor) -> Tensor:
        """Outputs of a head that is ``moved [outputs, axes]`` away from its start."""
        return torch.addmm(self.start, self.axes, moved.T)


def _axes(states: Tensor, centred: bool) -> _Axes:
    """The principal axes of vectors ``[vectors, width]``."""
    states = states.float()
    mean = states.mean(0, dtype=torch.float64).float()
    mean = mean if centred else torch.zeros_like(mean)
    moved = states - mean
    factor = float(moved.double().square().sum(1).mean().sqrt()) or 1.0
    if len(moved) < moved.shape[1]:  # no other directions matter
        _, lengths, turn = torch.linalg.svd(moved.double() / factor, full_matrices=False)
        spread, turn = lengths.square() / len(moved), turn.T
    else:
        spread, turn = torch.linalg.eigh((moved.T @ moved).double() / (len(moved) * factor**2))
    known = spread > 1e-9 * spread.max().clamp(min=1e-9)
    spread, turn = spread[known].float(), (turn[:, known] / factor).float()
    ones = spread.new_ones(1 if centred else 0)
    return _Axes(
        mean, turn, torch.cat([spread, ones]), torch.cat([torch.ones_like(spread), 0 * ones])
    )


def _points(axes: _Axes, vectors: Vectors, start: Head) -> _Points:
    states = vectors.states.float()
    places = (states - axes.mean) @ axes.turn
    if start.bias is not None:
        places = torch.cat([places, places.new_ones(len(places), 1)], 1)
    weight, bias = start
    return _Points(places, torch.nn.functional.linear(states, weight, bias), vectors.targets)


def _head(axes: _Axes, moved: Tensor, start: Head) -> Head:
    """The head that is ``moved`` away from its start, for vectors as they came."""
    width = axes.turn.shape[1]
    change = moved[:, :width] @ axes.turn.T
    if start.bias is None:
        return Head(start.weight + change, None)
    return Head(start.weight + change, start.bias + moved[:, width] - change @ axes.mean)


def _minimise(
    points: _Points,
    loss: Loss,
    penalty: Tensor,
    curvature: Tensor,
    at: Tensor,
    tolerance: float,
) -> Tensor:
    """The minimum of the penalised loss, by L-BFGS (Nocedal 1980, Math. Comp. 35).

    Args:
        points: what to learn.
        loss: their loss.
        penalty: of each axis, ``[axes]``.
        curvature: bound on that of the loss, ``[axes]``.
        at: where to begin, ``[outputs, axes]``.
        tolerance: share of the objective that a step must gain.
    """

    def evaluate(moved: Tensor) -> tuple[float, Tensor]:
        outputs = points.outputs(moved).requires_grad_()
        with torch.enable_grad():
            value = loss.of(outputs, points.targets)
        (slope,) = torch.autograd.grad(value, outputs)
        size = 0.5 * float((moved.square() * penalty).sum())
        return float(value.detach()) + size, slope.T @ points.axes + moved * penalty

    inverse = 1 / (curvature + penalty)
    pairs: list[tuple[Tensor, Tensor]] = []
    value, slope = evaluate(at)
    for _ in range(STEPS):
        step = _direction(slope, pairs, inverse)
        gain = -float((slope * step).sum())
        if not gain > tolerance * abs(value):
            break
        rate = 1.0
        while True:
            there = at + rate * step
            value_there, slope_there = evaluate(there)
            if value_there <= value - 1e-4 * rate * gain or rate < 1e-6:
                break
            rate /= 2
        if value_there > value:  # what is left is rounding
            break
        pairs = [*pairs[-MEMORY + 1 :], (there - at, slope_there - slope)]
        at, value, slope = there, value_there, slope_there
    return at


def _direction(slope: Tensor, pairs: Sequence[tuple[Tensor, Tensor]], inverse: Tensor) -> Tensor:
    """The direction of a step: minus the slope times the inverse curvature seen in ``pairs``."""
    step, shares = -slope, []
    for change, bend in reversed(pairs):
        scale = 1 / float((change * bend).sum())
        shares.append((scale, scale * float((change * step).sum())))
        step = step - shares[-1][1] * bend
    if pairs:
        change, bend = pairs[-1]
        inverse = inverse * (float((change * bend).sum()) / float((bend * bend * inverse).sum()))
    step = step * inverse
    for (change, bend), (scale, share) in zip(pairs, reversed(shares), strict=True):
        step = step + (share - scale * float((bend * step).sum())) * change
    return step
