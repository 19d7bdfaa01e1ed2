"""The losses of outputs that are one linear layer away from a vector, as pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor
from torch.nn import functional as F

Kind = Literal["single", "multi", "regression"]


class Loss(NamedTuple):
    """The mean loss of rows or tokens as a function of a head's outputs.

    Attributes:
        kind: cross-entropy (single), binary cross-entropy (multi), or squared error (regression).
        weights: weight of each label in it, ``[labels]``; of the positives of ``multi``.
        smoothing: share of the target spread evenly over the other labels.
    """

    kind: Kind
    weights: Tensor | None = None
    smoothing: float = 0.0

    def of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss, a scalar.

        Args:
            outputs: ``[rows, labels]``; of a regression ``[rows]`` or ``[rows, 1]``.
            targets: classes ``int64 [rows]``, several labels as 0 and 1 ``[rows, labels]``, or
                values ``[rows]``.

        >>> Loss("regression").of(Tensor([[1.0]]), Tensor([3.0]))
        tensor(4.)
        """
        weights = None if self.weights is None else self.weights.to(outputs)
        if self.kind == "single":
            return F.cross_entropy(outputs, targets, weight=weights, label_smoothing=self.smoothing)
        targets = targets.to(outputs.dtype)
        if self.kind == "regression":
            return F.mse_loss(outputs.reshape(targets.shape), targets)
        smooth = targets * (1 - self.smoothing) + 0.5 * self.smoothing
        return F.binary_cross_entropy_with_logits(outputs, smooth, pos_weight=weights)


def mixed(
    loss: Callable[[Tensor, Tensor], Tensor],
    outputs: Tensor,
    targets: Tensor,
    order: Tensor,
    share: float,
) -> Tensor:
    """The mean loss of mixup (Zhang et al. 2018, arXiv:1710.09412): rows mixed with other rows.

    Outputs of a linear head mix as its inputs do, so that this is mixup of the vectors that it
    takes in (Sun et al. 2020, arXiv:2010.02394).

    Args:
        loss: mean loss of outputs and targets.
        outputs: as of :meth:`Loss.of`.
        targets: as of :meth:`Loss.of`.
        order: the row that each one is mixed with, ``int64 [rows]``.
        share: share of the row itself, 0 to 1.

    >>> order = Tensor([1, 0]).long()
    >>> mixed(F.mse_loss, Tensor([1.0, 3.0]), Tensor([0.0, 4.0]), order, share=0.5)
    tensor(0.)
    """
    both = share * outputs + (1 - share) * outputs[order]
    if targets.is_floating_point():
        return loss(both, share * targets + (1 - share) * targets[order])
    return share * loss(both, targets) + (1 - share) * loss(both, targets[order])


def divergence(first: Tensor, second: Tensor, several: bool = False) -> Tensor:
    """How far the probabilities of two passes over the same rows differ: the mean, a scalar.

    That of a row is the mean of both Kullback-Leibler divergences (R-Drop, Liang et al. 2021,
    arXiv:2106.14448); of several labels also the mean over these, as of the loss.

    Args:
        first: logits of the first pass, ``[rows, labels]``.
        second: those of the second.
        several: whether a row has several labels.

    >>> divergence(Tensor([[0.0, 0.0]]), Tensor([[3.0, 3.0]]))
    tensor(0.)
    """
    apart = first - second
    if several:
        return ((first.sigmoid() - second.sigmoid()) * apart).mean() / 2
    return ((first.softmax(-1) - second.softmax(-1)) * apart).sum(-1).mean() / 2
