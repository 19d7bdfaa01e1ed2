"""Whether two splits are of one kind: can a head tell which of them a row is from?"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ftlight.freezing.linear import Head, Vectors
from ftlight.freezing.solve import solve
from ftlight.metrics.classes import auroc
from ftlight.models.losses import Loss

MOST = 2000  # rows of each split
ALARM = 2.326  # standard errors above a half: 1 % by chance
PENALTIES = (1.0, 0.1, 0.01)


class Drift(NamedTuple):
    """How well rows of two splits are told apart.

    Attributes:
        area: area under the ROC curve on rows that the head has not seen: a half is chance.
        error: standard error of that by chance.
        rows: rows of each split that were compared.
    """

    area: float
    error: float
    rows: int

    @property
    def alarms(self) -> bool:
        """Whether chance gives as much in at most 1 of 100 cases."""
        return self.area > 0.5 + ALARM * self.error


def drift(one: Tensor, other: Tensor, seed: int = 0) -> Drift:
    """Tells two splits apart by a solved head, trained on one half and measured on the other.

    A classifier two-sample test (Lopez-Paz and Oquab 2017), with the area under the ROC curve and
    its standard error under chance (Mann and Whitney 1947).

    Args:
        one: vectors ``[rows, width]``.
        other: vectors ``[rows, width]``.
        seed: draws the rows, if there are more than 2,000, and the halves.

    Raises:
        ValueError: a split has fewer than 4 rows.
    """
    random = torch.Generator().manual_seed(seed)
    count = min(len(one), len(other), MOST)
    if count < 4:
        raise ValueError("too few rows to tell splits apart")
    drawn = [split[torch.randperm(len(split), generator=random)[:count]] for split in (one, other)]
    states, side = torch.cat(drawn), torch.arange(2).repeat_interleave(count)
    half = torch.randperm(count, generator=random) < count // 2
    is_first = torch.cat([half, half])  # as many rows of each split
    scores = torch.zeros(2 * count)
    for trains in (is_first, ~is_first):
        scores[~trains] = _scores(states[trains], side[trains], states[~trains], seed)
    areas = [auroc(scores[part], side[part] == 1) for part in (is_first, ~is_first)]
    error = math.sqrt((2 * count + 1) / (12 * count * count))
    return Drift(sum(areas) / 2, error, count)


def _scores(states: Tensor, side: Tensor, others: Tensor, seed: int) -> Tensor:
    width = states.shape[1]
    train = Vectors(torch.arange(len(states)), states, side)
    start = Head(torch.zeros(2, width), torch.zeros(2))
    weight, bias = solve(train, Loss("single"), start, seed=seed, penalties=PENALTIES).head
    outputs = torch.nn.functional.linear(others, weight, bias)
    return outputs[:, 1] - outputs[:, 0]
