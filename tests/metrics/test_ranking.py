"""Ranking metrics against scikit-learn, torchmetrics and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import each
from sklearn.metrics import ndcg_score
from torchmetrics.functional.retrieval import (
    retrieval_normalized_dcg,
    retrieval_recall,
    retrieval_reciprocal_rank,
)

from ftlight.metrics.intervals import wilson
from ftlight.metrics.ranking import NDCG_AT, RECALL_AT, gain, ndcg, ranking, ranks, recall


def problem(seed: int, queries: int = 12, items: int = 150) -> tuple[torch.Tensor, list[list[int]]]:
    """Random scores without ties, and one to seven sought items for each query."""
    rng = np.random.default_rng(seed)
    scores = torch.tensor(
        rng.permuted(np.tile(np.arange(items, dtype=np.float32), (queries, 1)), axis=1)
    )
    return scores, [
        rng.choice(items, rng.integers(1, 8), replace=False).tolist() for _ in range(queries)
    ]


def test_as_scikit_learn_and_torchmetrics() -> None:
    def check(seed: int) -> None:
        scores, golds = problem(seed)
        values, _ = ranking(ranks(scores, golds))
        wanted = torch.zeros_like(scores)
        for row, gold in zip(wanted, golds, strict=True):
            row[gold] = 1
        for k in NDCG_AT:
            assert values[f"ndcg@{k}"] == pytest.approx(ndcg_score(wanted, scores, k=k), abs=1e-9)
            theirs = [
                retrieval_normalized_dcg(s, w.long(), top_k=k).item()
                for s, w in zip(scores, wanted, strict=True)
            ]
            assert values[f"ndcg@{k}"] == pytest.approx(np.mean(theirs), abs=1e-6)
        for k in RECALL_AT:
            theirs = [
                retrieval_recall(s, w.bool(), top_k=k).item()
                for s, w in zip(scores, wanted, strict=True)
            ]
            assert values[f"recall@{k}"] == pytest.approx(np.mean(theirs), abs=1e-6)
        theirs = [
            retrieval_reciprocal_rank(s, w.bool()).item()
            for s, w in zip(scores, wanted, strict=True)
        ]
        assert values["mrr"] == pytest.approx(np.mean(theirs), abs=1e-6)

    each(range(3), check)


def test_ranks_with_ties_and_exclusions_as_a_stable_sort() -> None:
    rng = np.random.default_rng(5)
    scores = torch.tensor(rng.integers(0, 6, (20, 40)), dtype=torch.float)
    scores[:, ::7] = -math.inf
    golds = [
        sorted(
            rng.choice(np.setdiff1d(np.arange(40), np.arange(0, 40, 7)), 3, replace=False).tolist()
        )
        for _ in range(20)
    ]
    for row, gold, found in zip(scores, golds, ranks(scores, golds), strict=True):
        order = row.argsort(descending=True, stable=True).tolist()
        assert found.tolist() == [order.index(g) + 1 for g in gold]


def test_by_hand() -> None:
    def check(given: list[int], k: int, wanted_recall: float, wanted_ndcg: float) -> None:
        assert recall(torch.tensor(given), k) == wanted_recall
        assert ndcg(torch.tensor(given), k) == pytest.approx(wanted_ndcg)

    each(
        [
            ([1], 1, 1.0, 1.0),
            ([2], 1, 0.0, 0.0),
            ([1, 2], 1, 0.5, 1.0),
            ([3, 11], 10, 0.5, 0.5 / (1 + 1 / math.log2(3))),
        ],
        check,
    )


def test_a_query_without_golds_counts_for_nothing() -> None:
    found, intervals = ranking([torch.tensor([1]), torch.tensor([], dtype=torch.long)])
    assert found["recall@10"] == 1.0
    assert intervals["ndcg@10"] == wilson(1.0, 1)
    assert math.isnan(ranking([])[0]["ndcg@10"])


def test_intervals_hold_the_value_and_narrow_with_queries() -> None:
    few, many = (ranking(ranks(*problem(1, queries))) for queries in (20, 500))
    for values, intervals in (few, many):
        for name, (low, high) in intervals.items():
            assert low <= values[name] <= high
    width = [i["ndcg@10"][1] - i["ndcg@10"][0] for _, i in (few, many)]
    assert width[1] < width[0] / 2


def test_a_paired_gain_is_narrower_than_the_scores_it_compares() -> None:
    worse = ranks(*problem(2, 200))
    better = [torch.where(r > 20, r, (r - 1).clamp(min=1)) for r in worse]
    value, (low, high) = gain(better, worse)
    scores = [ranking(r) for r in (better, worse)]
    assert value == pytest.approx(scores[0][0]["ndcg@10"] - scores[1][0]["ndcg@10"])
    assert 0 < low < value < high
    assert high - low < scores[0][1]["ndcg@10"][1] - scores[0][1]["ndcg@10"][0]
    unseen = wilson(0.0, 200)[1]  # queries that differ may have been missed
    assert gain(worse, worse) == (0.0, (-unseen, unseen))


def test_an_undefined_score_ranks_last() -> None:
    scores = torch.full((2, 5), float("nan"))
    scores[1] = torch.arange(5)
    assert [r.tolist() for r in ranks(scores, [[2], [4]])] == [[6], [1]]
