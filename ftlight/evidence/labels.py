"""Labels in doubt: what heads think of rows that they have not seen."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ftlight.freezing.linear import Head, Vectors
from ftlight.freezing.solve import out_of_fold
from ftlight.metrics import statistics
from ftlight.models.losses import Kind, Loss

SURE = 4.0  # times that another label is as probable as the row's own
FAR = 5.0  # robust standard deviations of a number from what a head says


class Doubt(NamedTuple):
    """How far heads that have not seen a row agree with its label.

    Attributes:
        trust: ``double [rows]``: the probability of the row's own label, of several the least; of
            a number the negative distance from what a head says, in robust standard deviations.
        doubted: numbers of the rows of which heads say something else, the least trusted first.
        sure: of how many of these rows they are sure of that.
        likely: the likely label of each row by its number, ``int64 [rows]``; of several labels the
            one that they doubt most; of numbers none.
        agreed: share of the labels that they say themselves.
        chance: that of who always says what most rows have.
    """

    trust: Tensor
    doubted: Tensor
    sure: int
    likely: Tensor
    agreed: float
    chance: float

    @property
    def can_judge(self) -> bool:
        """Whether heads know labels better than by chance, beyond the error of so few rows."""
        return statistics.wilson(self.agreed, len(self.trust))[0] > self.chance


def doubt(states: Tensor, targets: Tensor, kind: Kind, labels: int, seed: int = 0) -> Doubt:
    """Finds labels in doubt by heads that have not seen the row.

    Ranks by self-confidence (Kuan and Mueller 2022). Heads are sure of another class if it is
    as probable as it is on average in rows of that class (confident learning: Northcutt, Jiang and
    Chuang 2021) and several times as probable as the row's own: heads that know little are wrong
    in many rows, and never sure. How many labels are wrong, that does not tell.

    Args:
        states: a vector each row ``[rows, width]``.
        targets: classes ``[rows]``, several labels as 0 and 1 ``[rows, labels]``, or numbers.
        kind: kind of label.
        labels: number of labels.
        seed: decides which rows are in which of five parts.
    """
    outputs_of = {"single": labels, "multi": labels, "regression": 1}[kind]
    start = Head(torch.zeros(outputs_of, states.shape[1]), torch.zeros(outputs_of))
    own = targets.float()
    if kind == "regression":
        own = (own - own.mean()) / own.std().clamp(min=1e-12)
    learned = targets if kind == "single" else own
    vectors = Vectors(torch.arange(len(states)), states, learned)
    outputs = out_of_fold(vectors, Loss(kind), start, seed=seed)
    if kind == "single":
        return of_one(outputs.double().softmax(1), targets)
    if kind == "multi":
        return of_several(outputs.double().sigmoid(), targets)
    return of_numbers(outputs.double().flatten(), own.double())


def of_one(probabilities: Tensor, targets: Tensor) -> Doubt:
    """Doubt of rows of one label.

    Args:
        probabilities: of rows that were not learned ``[rows, classes]``.
        targets: class of each row ``[rows]``.
    """
    trust = probabilities.gather(1, targets[:, None])[:, 0]
    count = torch.bincount(targets, minlength=probabilities.shape[1])
    usual = torch.zeros(probabilities.shape[1], dtype=torch.double)
    usual = usual.index_add(0, targets, trust) / count.clamp(min=1)
    best, likely = probabilities.max(1)
    differs = likely != targets
    sure = differs & (best >= usual[likely]) & (best >= SURE * trust)
    agreed, chance = 1 - differs.double().mean().item(), (count.max() / len(targets)).item()
    return Doubt(trust, _first(trust, differs), int(sure.sum()), likely, agreed, chance)


def of_several(probabilities: Tensor, targets: Tensor) -> Doubt:
    """Doubt of rows of several labels, each judged as a class of its own; arguments as above."""
    is_there = targets.bool()
    trust = torch.where(is_there, probabilities, 1 - probabilities)
    usual = [(trust * side).sum(0) / side.sum(0).clamp(min=1) for side in (is_there, ~is_there)]
    # the other answer is as probable as it is on average where it is given
    is_usual = 1 - trust >= torch.where(is_there, usual[1], usual[0])
    sure = int(((1 - trust >= SURE * trust) & is_usual).any(1).sum())
    least, label = trust.min(1)
    share = is_there.double().mean(0)
    agreed, chance = (trust >= 0.5).double().mean().item(), torch.max(share, 1 - share).mean()
    return Doubt(least, _first(least, least < 0.5), sure, label, agreed, chance.item())


def of_numbers(said: Tensor, values: Tensor) -> Doubt:
    """Doubt of numbers.

    Args:
        said: what heads say of rows that they have not seen ``[rows]``.
        values: the numbers ``[rows]``.
    """
    off = (said - values).abs()
    spread = 1.4826 * off.median()
    trust = -off / spread.clamp(min=1e-12)
    found = _first(trust, trust < -FAR)
    none = torch.full((len(values),), -1)
    return Doubt(trust, found, len(found), none, 1 - len(found) / len(values), 0.0)


def _first(trust: Tensor, differs: Tensor) -> Tensor:
    """Numbers of the rows of which something else is said, the least trusted first."""
    order = trust.argsort(stable=True)
    return order[differs[order]]
