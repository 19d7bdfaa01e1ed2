"""Answers without a look at the input: the most frequent label, or set of labels, or the mean."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from ftlight.models.losses import Kind


def majority(targets: Tensor, rows: int, kind: Kind, labels: int) -> Tensor:
    """The same answer for each row: how frequent classes are, the most frequent set, or the mean.

    Args:
        targets: of train: classes ``[rows]``, labels as 0 and 1 ``[rows, labels]``, or values.
        rows: number of rows to answer.
        kind: kind of label.
        labels: number of labels.

    Returns:
        ``[rows, labels]``, of numbers ``[rows]``.

    >>> majority(torch.tensor([0, 1, 1]), 2, "single", 2).argmax(1).tolist()
    [1, 1]
    """
    if kind == "regression":
        return targets.double().mean().repeat(rows)
    if kind == "single":
        shares = torch.bincount(targets, minlength=labels) / len(targets)
        return shares.expand(rows, labels)
    sets = Counter(map(tuple, targets.tolist()))
    return torch.tensor(sets.most_common(1)[0][0]).expand(rows, labels)
