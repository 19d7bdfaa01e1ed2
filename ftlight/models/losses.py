"""The losses of outputs that are one linear layer away from a vector, as pure functions."""

from __future__ import annotations

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
