"""Texts that are nearly the same."""

from __future__ import annotations

import itertools
import json
import random

import numpy as np
import pytest
from conftest import ROOT, WORDS, each

from ftlight.data import near


def grams(text: str) -> set[str]:
    padded = f" {near.plain(text):{near.GRAM - 2}} "
    return {padded[i : i + near.GRAM] for i in range(len(padded) - near.GRAM + 1)}


def true_index(one: str, other: str) -> float:
    return len(grams(one) & grams(other)) / len(grams(one) | grams(other))


def sentences(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randrange(6, 15))) for _ in range(count)]


def changed(text: str, draw: random.Random) -> str:
    words = text.split()
    words[draw.randrange(len(words))] = draw.choice(WORDS)
    return " ".join(words)


def test_the_index_is_that_of_the_sets_of_grams() -> None:
    texts = [*sentences(30), "", "a", "ab", "abc", "ÄÖÜ straße", "日本語の文章です", "!?"]
    texts.append("\uff21\uff22\uff23  abc")  # wide letters
    pairs = list(itertools.combinations(range(len(texts)), 2))
    first, second = np.array(pairs).T
    found = near.overlap(texts, first, second).jaccard
    expected = [true_index(texts[i], texts[j]) for i, j in pairs]
    assert found == pytest.approx(np.array(expected))


def test_nearly_all_similar_pairs_are_found_and_no_others() -> None:
    draw, texts = random.Random(1), sentences(300)
    texts += [changed(text, draw) for text in texts]
    found = near.find([texts])
    columns = zip(*(values.tolist() for values in found), strict=True)
    pairs = {(first, second): index for first, second, index in columns}
    true = {}
    for i, j in itertools.combinations(range(len(texts)), 2):
        index = true_index(texts[i], texts[j])
        if index >= near.CLOSE:
            true[i, j] = index
    assert pairs.items() <= {key: pytest.approx(index) for key, index in true.items()}.items()
    alike = {key for key, index in true.items() if index >= near.REPEATS}
    assert len(alike) > 50
    assert len(alike & pairs.keys()) >= 0.98 * len(alike)
    assert len(pairs) >= 0.95 * len(true)


def test_those_asked_for_are_the_same_as_when_all_are() -> None:
    draw, texts = random.Random(2), sentences(200, seed=5)
    texts += [changed(text, draw) for text in texts[:100]]
    asked = np.arange(len(texts)) >= 200
    everything, few = near.find([texts]), near.find([texts], asked)
    wanted = asked[everything.first] | asked[everything.second]
    for one, other in zip(few, everything, strict=True):
        assert one.tolist() == other[wanted].tolist()


def test_every_part_must_be_alike() -> None:
    context = " ".join(sentences(20))
    questions = ["where is my parcel now", "where is my parcel today", "how do i cancel the order"]
    found = near.find([questions, [context] * 3])
    assert list(zip(found.first, found.second, strict=True)) == [(0, 1)]
    assert not len(near.find([questions[:2], [context, sentences(1, seed=9)[0]]]).first)


def test_a_crowd_of_equal_rows_is_found_without_all_its_pairs() -> None:
    texts = ["please send me the invoice of my last order"] * 3000
    found = near.find([texts])
    assert set(found.second) == set(range(1, 3000))
    assert len(found.first) < 3000 * near.NEIGHBOURS


def test_rows_without_letters_are_like_no_other() -> None:
    found = near.find([["", " ", "?!", "\U0001f600", "\U0001f621", "good day", "Good day!"]])
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == [(5, 6)]
    pairs = near.find([["", "", "late"], ["good day", "good day", ""]])
    assert pairs.first.tolist() == [0]


def test_nothing_to_compare() -> None:
    each([([],), (["one"],), (["", "x y z w"],)], lambda texts: check_none(texts))


def check_none(texts: list[str]) -> None:
    assert not len(near.find([texts]).first)


def test_pairs_of_news_that_a_person_judged() -> None:
    """Pairs that were found in AG News, cut to 160 characters: at least 95 % tell the same."""
    lines = (ROOT / "tests/fixtures/near_pairs.jsonl").read_text().splitlines()
    pairs = [json.loads(line) for line in lines]
    texts = [pair["one"] for pair in pairs] + [pair["other"] for pair in pairs]
    found = near.find([texts])
    same = set()
    for first, second in zip(found.first.tolist(), found.second.tolist(), strict=True):
        if second - first == len(pairs):
            same.add(first)
    judged = [pairs[row]["same"] for row in same]
    assert len(same) >= 45
    assert sum(judged) >= 0.95 * len(judged)
