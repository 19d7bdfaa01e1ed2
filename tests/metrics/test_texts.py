"""BLEU, chrF and ROUGE against the packages that define them."""

from __future__ import annotations

import builtins
import math
import random
from typing import Any

import pytest
from conftest import each

from ftlight.metrics import texts
from ftlight.utils.errors import UserError

REAL = [
    (
        "The Phoenix is a cheap pub, near Crowne Plaza Hotel.",
        ["The Phoenix is a cheap pub near the Crowne Plaza Hotel.", "A cheap pub: Phoenix."],
    ),
    ("It isn't family-friendly; prices: £20-25!", ["It's not family friendly, and costs £20-25."]),
    (
        "Person1 asks Person2 out.\nThey go to the cinema.",
        ["They go to the cinema.\n\nPerson1 had asked Person2 out.", "Cinema.", ""],
    ),
    ("", ["nothing was generated here"]),
    ("the the the the the", ["the cat sat on the mat", "THE THE"]),
    ("Größe, 東京 &amp; naïve", ["Grösse 東京 & naive"]),
    ("one two", ["one two"]),
]


def made(count: int, seed: int) -> tuple[list[str], list[list[str]]]:
    """Texts of few words on several lines, which have many equally long common subsequences.

    Each has one to four references.
    """
    draw = random.Random(seed)

    def text(most: int) -> str:
        return "".join(
            f"{draw.choice('abcdef.')}{draw.choice([' ', ' ', ' ', chr(10)])}"
            for _ in range(draw.randrange(most))
        )

    return [text(30) for _ in range(count)], [
        [text(40) for _ in range(draw.randrange(1, 5))] for _ in range(count)
    ]


CASES = [([p for p, _ in REAL], [r for _, r in REAL]), made(60, 0), made(60, 1)]


def test_bleu_and_chrf_are_sacrebleus() -> None:
    def check(predictions: list[str], references: list[list[str]]) -> None:
        import sacrebleu

        streams: Any = [[r[i] if i < len(r) else None for r in references] for i in range(4)]
        assert (
            texts.bleu(predictions, references)
            == sacrebleu.corpus_bleu(predictions, streams).score
            > 0
        )
        assert (
            texts.chrf(predictions, references)
            == sacrebleu.corpus_chrf(predictions, streams).score
            > 0
        )

    each(CASES, check)


def test_parts_of_bleu_add_up() -> None:
    predictions, references = made(20, 2)
    parts = texts.bleu_parts(predictions, references)
    assert parts.shape == (20, 10)
    half = texts.bleu(predictions[:7], references[:7])
    assert texts.bleu_of(parts[:7].sum(0)) == half != texts.bleu_of(parts.sum(0))


def test_rouge_is_that_of_rouge_score() -> None:
    def check(predictions: list[str], references: list[list[str]]) -> None:
        from rouge_score.rouge_scorer import RougeScorer

        kinds = ["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"]
        rows = texts.rouge_rows(predictions, references, kinds)
        scorer = RougeScorer(kinds)
        for i, (prediction, several) in enumerate(zip(predictions, references, strict=True)):
            expected = scorer.score_multi(several, prediction)
            for kind in kinds:
                assert rows[kind][i] == pytest.approx(expected[kind].fmeasure, abs=1e-12), (
                    kind,
                    prediction,
                    several,
                )
        means = texts.rouge(predictions, references)
        assert means["rougeLsum"] == pytest.approx(sum(rows["rougeLsum"]) / len(predictions))
        assert means["rougeL"] != means["rougeLsum"]

    each(CASES, check)


def test_longest_common_subsequence_of_long_texts() -> None:
    draw = random.Random(3)
    a, b = ([draw.choice("abcd") for _ in range(n)] for n in (150, 130))
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
            )
    assert texts.lcs_length(a, b) == table[-1][-1] == texts.lcs_length(b, a)
    assert texts.lcs_length([], b) == texts.lcs_length(a, []) == 0


def test_nothing_to_measure_is_not_a_number() -> None:
    values = [texts.bleu([], []), texts.chrf([], []), *texts.rouge([], []).values()]
    assert len(values) == 6
    assert all(map(math.isnan, values))


def test_perplexity() -> None:
    assert texts.perplexity(3 * math.log(7), 3) == pytest.approx(7)
    assert math.isnan(texts.perplexity(0.0, 0))
    assert math.isnan(texts.perplexity(math.nan, 2))
    assert texts.perplexity(math.inf, 2) == texts.perplexity(1e6, 1) == math.exp(700)


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="rouge0 is not a ROUGE"):
        texts.rouge(["a"], [["a"]], ["rouge0"])


def test_without_sacrebleu(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"pip install ftlight\[generation\]"):
        texts.bleu(["a"], [["a"]])
