"""Exact match, F1 and the threshold against SQuAD's own scripts and torchmetrics."""

from __future__ import annotations

import math
import random

import pytest
import torch
from conftest import each
from squad_scripts import find_best_thresh, normalize_answer, score_1, score_2
from torchmetrics.text import SQuAD

from ftlight.metrics import answers

TEXTS = [
    "the Normans", "Normans", "The Norman-French", "a", "the", "", "  ", "An apple, a pear",
    "apple pear", "10th century", "10th  Century!", "don't", "dont", "$4.5 million", "4.5 million",
    "Beyoncé Knowles", "beyoncé", "vitamin A", "the the cat", "cat cat", "«Köln»", "…",
]  # fmt: skip


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
