"""Long texts are divided into windows that together hold every token."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import WORDS, each, save_tokenizer

from ftlight.data import tokens, windows


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    from transformers import AutoTokenizer

    save_tokenizer(tmp_path / "tokenizer")
    return AutoTokenizer.from_pretrained(tmp_path / "tokenizer")


def text(words: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def parts(columns: Any, row: int, name: str = "input_ids") -> list[list[int]]:
    return [w.tolist() for w in windows.apart([columns[name][row]], [columns["sizes"][row]])]


def joined(own: list[list[int]], shared: int) -> list[int]:
    """The tokens of windows one after the other, each without what the one before has too."""
    whole = own[0]
    for before, after in itertools.pairwise(own):
        assert before[len(before) - shared :] == after[:shared]
        whole = whole + after[shared:]
    return whole


def test_windows_hold_every_token_and_share_a_quarter(tokenizer: Any) -> None:
    def check(words: int) -> None:
        columns = windows.tokenize(tokenizer, [text(words, words)], None, 16)
        own = parts(columns, 0)
        assert all(w[0] == tokenizer.cls_token_id and len(w) <= 16 for w in own)
        plain = tokenizer(text(words, words), add_special_tokens=False)["input_ids"]
        assert joined([w[1:-1] for w in own], 4) == plain
        assert columns["length"] == [len(own) * max(map(len, own))]

    each([1, 13, 14, 15, 24, 25, 100], check)


def test_texts_that_fit_are_what_they_were(tokenizer: Any) -> None:
    texts = [text(n, n) for n in (1, 5, 14, 0)]
    cut = tokens.tokenize(tokenizer, texts, None, 16)
    whole = windows.tokenize(tokenizer, texts, None, 16)
    assert {name: whole[name] for name in cut} == cut
    assert [len(sizes) for sizes in whole["sizes"]] == [1] * 4


def test_the_longer_text_of_a_pair_is_divided_beside_the_other(tokenizer: Any) -> None:
    def check(first: int, second: int) -> None:
        texts, pairs = [text(first, 1)], [text(second, 2)]
        columns = windows.tokenize(tokenizer, texts, pairs, 16)
        types = parts(columns, 0, "token_type_ids")
        own = parts(columns, 0)
        assert len(own) > 1
        assert all(len(w) <= 16 for w in own)
        longer = int(second >= first)
        divided, other = [], set()
        for window, of_window in zip(own, types, strict=True):
            kinds = np.array(of_window)
            ids = np.array(window)
            real = ~np.isin(ids, [tokenizer.cls_token_id, tokenizer.sep_token_id])
            divided.append(ids[real & (kinds == longer)].tolist())
            other.add(tuple(ids[real & (kinds != longer)].tolist()))
        plain = [tokenizer(t[0], add_special_tokens=False)["input_ids"] for t in (texts, pairs)]
        half = (16 - 3) // 2
        assert other == {tuple(plain[1 - longer][:half])}
        assert joined(divided, windows.overlap(tokenizer, 16, pairs=True)) == plain[longer]
        assert columns["shortened"] == [min(first, second) > half]

    each([(3, 60), (60, 3), (40, 40), (20, 61)], check)


def test_windows_too_short_for_a_pair_cut_it(tokenizer: Any) -> None:
    columns = windows.tokenize(tokenizer, ["red green"], ["blue small large"], 4)
    assert columns["sizes"] == [[4]]


def test_notes_say_how_many_and_why() -> None:
    assert [*windows.notes("train", [1, 1], 0, 64, "; because")] == []
    assert [*windows.notes("train", [1, 3, 5], 2, 64, "; because")] == [
        "train: 2 of 3 rows are longer than 64 tokens, read whole in up to 5 windows; because",
        "train: of 2 rows the shorter text has more than half of a window of 64 tokens and is cut",
    ]
