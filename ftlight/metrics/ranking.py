"""Scores of ranked items: recall, NDCG and reciprocal rank from the ranks of the items that were sought."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ftlight.metrics.intervals import NAN, bootstrap

RECALL_AT = 1, 5, 10, 100
NDCG_AT = 5, 10, 100


def ranks(scores: Tensor, golds: Sequence[Sequence[int]]) -> list[Tensor]:
    """Ranks of the sought items of each query, from 1; of equal scores the item with the smaller number comes first.

    Args:
        scores: ``[queries, items]``; ``-inf`` for an item that is not ranked.
        golds: numbers of the sought items of each query.

    Returns:
        A tensor ``int64 [golds of the query]`` for each query, in the order of its golds.

    >>> ranks(torch.tensor([[0.1, 0.9, 0.5, 0.5]]), [[3, 1]])
    [tensor([3, 1])]
    """
    sizes = [len(g) for g in golds]
    width = max(sizes, default=0)
    padded = torch.zeros(len(golds), width, dtype=torch.long)
    for row, gold in zip(padded, golds, strict=True):
        row[: len(gold)] = torch.tensor(gold, dtype=torch.long)
    padded = padded.to(scores.device)
    numbers = torch.arange(scores.shape[1], device=scores.device)
    found = torch.empty_like(padded)
    for i in range(
        width
    ):  # one gold of every query at a time: [queries, items] and never [queries, golds, items]
        own = scores.gather(1, padded[:, i : i + 1])
        behind = (scores < own) | ((scores == own) & (numbers >= padded[:, i : i + 1]))
        found[:, i] = (~behind).sum(
            1
        ) + 1  # what is not surely behind is before: an undefined score ranks last
    return [row[:size] for row, size in zip(found, sizes, strict=True)]


def recall(ranked: Tensor, k: int) -> float:
    """Share of a query's sought items among the first ``k``.

    >>> recall(torch.tensor([1, 12]), 10)
    0.5
    """
    return (ranked <= k).double().mean().item()


def ndcg(ranked: Tensor, k: int) -> float:
    """Normalized discounted cumulative gain at ``k`` of a query (Järvelin and Kekäläinen 2002), every sought item worth 1.

    >>> round(ndcg(torch.tensor([2]), 10), 4)
    0.6309
    """
    gain = torch.where(ranked <= k, 1 / (ranked.double() + 1).log2(), 0.0).sum()
    best = (1 / torch.arange(2, min(len(ranked), k) + 2).double().log2()).sum()
    return (gain / best).item()


def ranking(ranked: Sequence[Tensor]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Recall@k, NDCG@k and the mean reciprocal rank of the first sought item, as means over queries.

    Args:
        ranked: ranks of the sought items of each query, from 1; a query that seeks nothing is left out.

    Returns:
        Metric to value (nan where no query seeks anything), and to its 95 % interval by resampling queries, for some.
    """
    asked = [r for r in ranked if len(r)]
    columns = {
        **{f"recall@{k}": [recall(r, k) for r in asked] for k in RECALL_AT},
        **{f"ndcg@{k}": [ndcg(r, k) for r in asked] for k in NDCG_AT},
        "mrr": [1 / int(r.min()) for r in asked],
    }
    values = {
        name: sum(column) / len(column) if column else NAN for name, column in columns.items()
    }
    return values, {name: _interval(columns[name]) for name in ("recall@10", "ndcg@10", "mrr")}


def gain(ranked: Sequence[Tensor], other: Sequence[Tensor]) -> tuple[float, tuple[float, float]]:
    """By how much NDCG@10 is above that of another ranking of the same queries, with its 95 % interval (paired)."""
    above = [ndcg(a, 10) - ndcg(b, 10) for a, b in zip(ranked, other, strict=True) if len(a)]
    return sum(above) / len(above) if above else NAN, _interval(above)


def _interval(column: list[float]) -> tuple[float, float]:
    parts = torch.tensor([[value, 1.0] for value in column], dtype=torch.double).reshape(-1, 2)
    return bootstrap(parts, lambda sums: float(sums[0] / sums[1]))
