"""The loss of retrieval: each query against the other items of its batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

NEVER = float("-inf")


def contrast(scores: Tensor, positive: Tensor, known: Tensor, symmetric: bool = False) -> Tensor:
    """Cross-entropy of each query's item against the other items of the batch (InfoNCE).

    Source: van den Oord et al. 2018, arXiv:1807.03748.

    Args:
        scores: ``[rows, items]``, divided by the temperature.
        positive: Column of each row's item, ``[rows]``.
        known: Items that are not negatives of a row, bool ``[rows, items]``.
        symmetric: Whether each item must also find its query among those of the batch.

    Returns:
        The mean over rows.
    """
    loss = F.cross_entropy(scores.masked_fill(known, NEVER), positive)
    if not symmetric:
        return loss
    same = (positive[:, None] == positive) | known[:, positive].T  # [item's row, query's row]
    same.fill_diagonal_(False)
    by_item = scores[:, positive].T.masked_fill(same, NEVER)
    back = F.cross_entropy(by_item, torch.arange(len(positive), device=scores.device))
    return (loss + back) / 2
