"""Recall, NDCG and reciprocal rank, from the ranks of the relevant items of each query."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ftlight.metrics.intervals import NAN, UNIT, bootstrap

RECALL_AT = 1, 5, 10, 100
NDCG_AT = 5, 10, 100
WITH_INTERVAL = "recall@10", "ndcg@10", "mrr"


def ranks(scores: Tensor, golds: Sequence[Sequence[int]]) -> list[Tensor]:
    """Ranks the relevant items of each query, from 1; of equal scores the smaller number is first.

    Args:
        scores: ``[queries, items]``; ``-inf`` leaves an item out of the ranking.
        golds: numbers of the relevant items of each query.

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
    ranked = torch.empty_like(padded)
    # one gold of every query at a time: memory is [queries, items], not [queries, golds, items]
    for i in range(width):
        gold_number = padded[:, i : i + 1]
        gold_score = scores.gather(1, gold_number)
        behind = (scores < gold_score) | ((scores == gold_score) & (numbers >= gold_number))
        # counts what is not surely behind, so that an undefined score ranks last
        ranked[:, i] = (~behind).sum(1) + 1
    return [row[:size] for row, size in zip(ranked, sizes, strict=True)]


def recall(ranked: Tensor, k: int) -> float:
    """Share of a query's relevant items among the first ``k``.

    >>> recall(torch.tensor([1, 12]), 10)
    0.5
    """
    return (ranked <= k).double().mean().item()


def ndcg(ranked: Tensor, k: int) -> float:
    """Normalized discounted cumulative gain at ``k`` with binary gains.

    The definition is that of Järvelin and Kekäläinen (2002).

    >>> round(ndcg(torch.tensor([2]), 10), 4)
    0.6309
    """
    gain = torch.where(ranked <= k, 1 / (ranked.double() + 1).log2(), 0.0).sum()
    best = (1 / torch.arange(2, min(len(ranked), k) + 2).double().log2()).sum()
    return (gain / best).item()


def ranking(ranked: Sequence[Tensor]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Recall@k, NDCG@k and the reciprocal rank of the first relevant item, as means over queries.

    Args:
        ranked: ranks of the relevant items of each query, from 1; queries without any are left out.

    Returns:
        Values by name (nan if no query has a relevant item), and 95 % intervals of some of them, by
        resampling queries.
    """
    asked = [r for r in ranked if len(r)]
    columns = {
        **{f"recall@{k}": [recall(r, k) for r in asked] for k in RECALL_AT},
        **{f"ndcg@{k}": [ndcg(r, k) for r in asked] for k in NDCG_AT},
        "mrr": [1 / int(r.min()) for r in asked],
    }
    values = {name: _mean(column) for name, column in columns.items()}
    return values, {name: _interval(columns[name], UNIT) for name in WITH_INTERVAL}


def gain(ranked: Sequence[Tensor], other: Sequence[Tensor]) -> tuple[float, tuple[float, float]]:
    """Gain in NDCG@10 over another ranking of the same queries, with its paired 95 % interval."""
    above = [ndcg(a, 10) - ndcg(b, 10) for a, b in zip(ranked, other, strict=True) if len(a)]
    return _mean(above), _interval(above, (-1.0, 1.0))


def _mean(column: list[float]) -> float:
    return sum(column) / len(column) if column else NAN


def _interval(column: list[float], bounds: tuple[float, float]) -> tuple[float, float]:
    parts = torch.tensor([[value, 1.0] for value in column], dtype=torch.double).reshape(-1, 2)
    return bootstrap(parts, lambda sums: float(sums[0] / sums[1]), bounds=bounds)
