"""A linear head's loss on principal axes, and its minimum by L-BFGS: pure functions of tensors.

Vectors are centred, brought to a mean square of 1 by one factor, and turned to their principal
axes. That changes the optimum only by the unit of the penalty, and on each axis the curvature has
a bound (Böhning 1992, Ann. Inst. Stat. Math. 44), which preconditions L-BFGS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ftlight.models.losses import Kind, Loss

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


class Axes(NamedTuple):
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


class Points(NamedTuple):
    """Vectors on principal axes ``[vectors, axes]``, the start's outputs, and the targets."""

    axes: Tensor
    start: Tensor
    targets: Tensor

    def take(self, which: Tensor) -> Points:
        """Some of the vectors."""
        return Points(self.axes[which], self.start[which], self.targets[which])

    def outputs(self, moved: Tensor) -> Tensor:
        """Outputs of a head that is ``moved [outputs, axes]`` away from its start."""
        return torch.addmm(self.start, self.axes, moved.T)

    def still(self) -> Tensor:
        """A head at its start, ``[outputs, axes]``."""
        return self.axes.new_zeros(self.start.shape[1], self.axes.shape[1])


def axes_of(states: Tensor, centred: bool) -> Axes:
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
    return Axes(
        mean, turn, torch.cat([spread, ones]), torch.cat([torch.ones_like(spread), 0 * ones])
    )


def points_on(axes: Axes, vectors: Vectors, start: Head) -> Points:
    """Vectors on principal axes, followed by a constant 1 if the head has a bias."""
    states = vectors.states.float()
    places = (states - axes.mean) @ axes.turn
    if start.bias is not None:
        places = torch.cat([places, places.new_ones(len(places), 1)], 1)
    weight, bias = start
    return Points(places, F.linear(states, weight, bias), vectors.targets)


def head_at(axes: Axes, moved: Tensor, start: Head) -> Head:
    """The head that is ``moved`` away from its start, for vectors as they came."""
    width = axes.turn.shape[1]
    change = moved[:, :width] @ axes.turn.T
    if start.bias is None:
        return Head(start.weight + change, None)
    return Head(start.weight + change, start.bias + moved[:, width] - change @ axes.mean)


def minimise(
    points: Points,
    loss: Loss,
    axes: Axes,
    penalty: float,
    at: Tensor,
    tolerance: float,
) -> Tensor:
    """The minimum of the penalised loss, by L-BFGS (Nocedal 1980, Math. Comp. 35).

    Args:
        points: what to learn.
        loss: their loss.
        axes: the axes.
        penalty: half of it times the squared distance from the start is added to the loss.
        at: where to begin, ``[outputs, axes]``.
        tolerance: share of the objective that a step must gain.
    """

    def evaluate(moved: Tensor) -> tuple[float, Tensor]:
        outputs = points.outputs(moved).requires_grad_()
        with torch.enable_grad():
            value = loss.of(outputs, points.targets)
        (slope,) = torch.autograd.grad(value, outputs)
        size = 0.5 * float((moved.square() * penalties).sum())
        return float(value.detach()) + size, slope.T @ points.axes + moved * penalties

    penalties = penalty * axes.penalised
    inverse = 1 / (CURVATURE[loss.kind] * axes.spread + penalties)
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
        change, bend = there - at, slope_there - slope
        if float((change * bend).sum()) > 0:
            pairs = [*pairs[-MEMORY + 1 :], (change, bend)]
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
