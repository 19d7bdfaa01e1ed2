"""Words are weighed one by one, long texts from coarse to fine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from conftest import each

from ftlight.explain.occlusion import of_words, trials, weigh
from ftlight.explain.units import masked, moved, units


def adds_up(
    heavy: Mapping[int, float], calls: list[int]
) -> Callable[[Sequence[Sequence[int]]], list[float]]:
    """A support that falls by the weight of each word that is masked."""

    def support(variants: Sequence[Sequence[int]]) -> list[float]:
        calls.append(len(variants))
        return [-sum(w for i, w in heavy.items() if i in set(words)) for words in variants]

    return support


def text_of(sentences: int, words: int) -> str:
    return ". ".join(" ".join(f"w{i}_{j}" for j in range(words)) for i in range(sentences))


def test_every_word_of_a_short_text_is_weighed_alone() -> None:
    found, whole = units({"text": text_of(3, 10)}, {})
    calls: list[int] = []
    unchanged, pieces, weights = weigh(whole, adds_up({4: 2.0, 11: -1.0}, calls))
    assert (unchanged, len(found), calls) == (0, 30, [31])
    by_word = of_words(pieces, weights)
    assert by_word.tolist() == [2.0 if i == 4 else -1.0 if i == 11 else 0.0 for i in range(30)]


def test_the_words_that_decide_a_long_text_are_found_in_few_trials() -> None:
    def check(sentences: int, words: int, heavy: dict[int, float]) -> None:
        calls: list[int] = []
        _, whole = units({"text": text_of(sentences, words)}, {})
        _, pieces, weights = weigh(whole, adds_up(heavy, calls))
        alone = {p.words[0]: w for p, w in zip(pieces, weights, strict=True) if len(p.words) == 1}
        assert {i: w for i, w in alone.items() if w} == heavy
        assert sum(calls) < 250
        assert of_words(pieces, weights).sum() == pytest.approx(sum(heavy.values()))
        assert sorted(i for piece in pieces for i in piece.words) == list(range(len(whole.words)))

    each(
        [
            (250, 20, {777: 3.0, 4001: 2.0, 12: 1.0}),  # many sentences
            (1, 900, {5: 1.0, 850: 2.0}),  # one without an end
            (5, 13, {64: 1.0}),  # one word more than are weighed alone
        ],
        check,
    )


def test_texts_without_words_and_with_one() -> None:
    _, nothing = units({"text": " \n "}, {})
    assert weigh(nothing, adds_up({}, [])) == (0, [], [])
    _, one = units({"text": "yes"}, {})
    unchanged, pieces, weights = weigh(one, adds_up({0: 0.5}, []))
    assert (unchanged, [list(p.words) for p in pieces], weights) == (0, [[0]], [0.5])


def test_words_are_those_of_the_script_and_never_reach_into_the_answer() -> None:
    def check(text: str, kept: tuple[int, int], expected: list[str]) -> None:
        found, _ = units({"text": text}, {"text": kept} if kept else {})
        assert [text[unit.start : unit.end] for unit in found] == expected

    each(
        [
            ("Don't stop, no-one!", (), ["Don't", "stop,", "no-one!"]),
            ("我要退款 now", (), ["我", "要", "退", "款", "now"]),
            ("Anna lives in Paris, France", (14, 19), ["Anna", "lives", "in", "France"]),
            ("Paris", (0, 5), []),
        ],
        check,
    )


def test_masking_keeps_all_other_characters_and_moves_the_answer_along() -> None:
    texts = {"question": "who is it ?", "context": "it is  Anna\tfrom Paris"}
    found, _ = units(texts, {"context": (7, 11)})
    rng = np.random.default_rng(0)
    for mask in ("[MASK]", ""):
        for _ in range(50):
            chosen = [found[i] for i in rng.permutation(len(found))[: rng.integers(len(found))]]
            changed, by_text = masked(texts, chosen, mask)
            start, end = moved(texts["context"], (7, 11), by_text["context"], mask)
            assert changed["context"][start:end] == "Anna"
            for name, text in changed.items():
                left = [u for u in found if u.text == name and u not in chosen]
                words = [texts[name][u.start : u.end] for u in left]
                rest = text.replace("Anna", "") if name == "context" else text
                assert sorted(rest.replace("[MASK]", "").split()) == sorted(words)
                assert text.count("[MASK]") == (len(by_text[name]) if mask else 0)


def test_the_check_removes_a_fifth_of_the_words_first_the_heaviest() -> None:
    weights = np.array([0.1, 0.9, 0.0, 0.5, -1.0, 0.2, 0.3, 0.0, 0.0, 0.0])
    heaviest, *drawn = trials(weights)
    assert heaviest == [1, 3]
    assert {len(words) for words in drawn} == {2}
    assert len({tuple(words) for words in drawn}) > 1
    assert trials(np.array([0.5])) == [[0]] * 6
