"""Exact match, F1 and the threshold against SQuAD's own scripts, copied here, and torchmetrics."""

from __future__ import annotations

import collections
import math
import random
import re
import string
from typing import Any

import pytest
import torch
from conftest import each
from torchmetrics.text import SQuAD

from ftlight.metrics import answers

TEXTS = [
    "the Normans", "Normans", "The Norman-French", "a", "the", "", "  ", "An apple, a pear",
    "apple pear", "10th century", "10th  Century!", "don't", "dont", "$4.5 million", "4.5 million",
    "Beyoncé Knowles", "beyoncé", "vitamin A", "the the cat", "cat cat", "«Köln»", "…",
]  # fmt: skip


# The published scripts, as oracles


def normalize_answer(s: str) -> str:
    def remove_articles(text: str) -> str:
        return re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def f1_1(prediction: str, truth: str) -> float:
    """evaluate-v1.1.py."""
    p, t = normalize_answer(prediction).split(), normalize_answer(truth).split()
    common = collections.Counter(p) & collections.Counter(t)
    num_same = sum(common.values())
    if num_same == 0:
        return 0
    precision, recall = 1.0 * num_same / len(p), 1.0 * num_same / len(t)
    return (2 * precision * recall) / (precision + recall)


def f1_2(truth: str, prediction: str) -> float:
    """evaluate-v2.0.py."""
    gold = normalize_answer(truth).split() if truth else []
    pred = normalize_answer(prediction).split() if prediction else []
    if len(gold) == 0 or len(pred) == 0:
        return int(gold == pred)
    return f1_1(prediction, truth)


def score_1(prediction: str, truths: list[str]) -> tuple[float, float]:
    return max(float(normalize_answer(prediction) == normalize_answer(t)) for t in truths), max(
        f1_1(prediction, t) for t in truths
    )


def score_2(prediction: str, truths: list[str]) -> tuple[float, float]:
    gold = [t for t in truths if normalize_answer(t)] or [""]
    return max(int(normalize_answer(g) == normalize_answer(prediction)) for g in gold), max(
        f1_2(g, prediction) for g in gold
    )


def find_best_thresh(preds: Any, scores: Any, na_probs: Any, has_ans: Any) -> tuple[float, float]:
    cur_score = best_score = sum(1 for k in has_ans if not has_ans[k])
    best_thresh = 0.0
    for qid in sorted(na_probs, key=lambda k: na_probs[k]):
        cur_score += scores[qid] if has_ans[qid] else (-1 if preds[qid] else 0)
        if cur_score > best_score:
            best_score, best_thresh = cur_score, na_probs[qid]
    return best_score / len(scores), best_thresh


# Scores


def test_normalize() -> None:
    def check(text: str) -> None:
        assert answers.normalize(text) == normalize_answer(text)

    each(TEXTS, check)


def test_scores_are_those_of_the_scripts() -> None:
    def check(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(200):
            prediction, golds = rng.choice(TEXTS), rng.choices(TEXTS, k=rng.randint(1, 4))
            assert answers.scores(prediction, golds) == pytest.approx(score_1(prediction, golds))
            assert answers.scores(prediction, golds, v2=True) == pytest.approx(
                score_2(prediction, golds)
            )

    each(range(5), check)


def test_no_answer() -> None:
    def check(prediction: str) -> None:
        assert answers.scores(prediction, [], v2=True) == score_2(prediction, [])

    each(TEXTS, check)


def test_the_two_scripts_differ_where_no_word_is_left() -> None:
    assert answers.scores("the", ["a"]) == (1.0, 0.0)
    assert answers.scores("the", ["a"], v2=True) == (1.0, 1.0)
    assert answers.scores("cat", ["the", "cats"], v2=True) == (0.0, 0.0)


def test_means_are_those_of_torchmetrics() -> None:
    rng = random.Random(0)
    words = [t for t in TEXTS if answers.normalize(t)]  # without words it goes by the rules of 2.0
    metric = SQuAD()
    ours = []
    for i in range(60):
        prediction, golds = rng.choice(words), rng.choices(words, k=3)
        metric.update(
            [{"prediction_text": prediction, "id": str(i)}],
            [{"answers": {"text": golds, "answer_start": [0] * 3}, "id": str(i)}],
        )
        ours.append(answers.scores(prediction, golds))
    theirs = metric.compute()
    exact, f1 = torch.tensor(ours).mean(0).tolist()
    assert 100 * exact == pytest.approx(float(theirs["exact_match"]), abs=1e-3)
    assert 100 * f1 == pytest.approx(float(theirs["f1"]), abs=1e-3)


# Threshold


def rows(
    seed: int, count: int = 40, values: int = 10**6
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = random.Random(seed)
    answerable = torch.tensor([rng.random() < 0.6 for _ in range(count)])
    against = (
        torch.tensor([float(rng.randrange(values)) for _ in range(count)]) - values / 4 * answerable
    )
    return (
        against,
        torch.tensor([rng.choice([0.0, 0.5, 1.0]) for _ in range(count)]) * answerable,
        answerable,
    )


def mean_at(
    threshold: float, against: torch.Tensor, value: torch.Tensor, answerable: torch.Tensor
) -> float:
    return float(torch.where(against > threshold, (~answerable).double(), value.double()).mean())


def test_best_threshold_is_that_of_the_script() -> None:
    def check(seed: int) -> None:
        against, value, answerable = rows(seed)
        threshold, best = answers.best_threshold(against, value, answerable)
        keys = range(len(value))
        has, odds = {k: bool(answerable[k]) for k in keys}, {k: float(against[k]) for k in keys}
        expected, theirs = find_best_thresh(
            dict.fromkeys(keys, "x"), {k: float(value[k]) for k in keys}, odds, has
        )
        assert best == pytest.approx(expected)
        assert mean_at(threshold, against, value, answerable) == pytest.approx(best)
        assert mean_at(theirs, against, value, answerable) == pytest.approx(best)

    each(range(10), check)


def test_best_threshold_with_ties() -> None:
    def check(seed: int) -> None:
        against, value, answerable = rows(seed, values=4)
        threshold, best = answers.best_threshold(against, value, answerable)
        every = [-math.inf, *against.unique().tolist()]
        assert best == pytest.approx(max(mean_at(t, against, value, answerable) for t in every))
        assert mean_at(threshold, against, value, answerable) == pytest.approx(best)

    each(range(10), check)


def test_best_threshold_at_the_bounds() -> None:
    yes, no = torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)
    against = torch.tensor([1.0, 2.0])
    assert answers.best_threshold(against, torch.ones(2), yes) == (3.0, 1.0)
    assert answers.best_threshold(against, torch.zeros(2), no) == (0.0, 1.0)
    assert all(
        math.isnan(x)
        for x in answers.best_threshold(
            torch.zeros(0), torch.zeros(0), torch.zeros(0, dtype=torch.bool)
        )
    )
