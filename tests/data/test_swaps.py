"""Words exchanged in texts: whole ones, in both directions, in their case."""

from __future__ import annotations

import pytest
from conftest import each

from ftlight.data import swaps
from ftlight.utils.errors import UserError

PAIRS = [("he", "she"), ("him", "her"), ("his", "her"), ("New York", "Lagos"), ("Jörg", "Aylin")]


def test_words_are_exchanged() -> None:
    def check(text: str, expected: str) -> None:
        assert swaps.exchange(text, PAIRS) == expected

    each(
        [
            ("he told her", "she told him"),
            ("She and his dog", "He and her dog"),
            ("the shelf, theme, her2", "the shelf, theme, her2"),
            ("HE! (she)", "SHE! (he)"),
            ("new york or Lagos's", "lagos or New York's"),
            ("JÖRG mag jörg", "AYLIN mag aylin"),
            ("", ""),
        ],
        check,
    )


def test_what_was_exchanged_comes_back() -> None:
    text = "He met Jörg in Lagos, and she met AYLIN in New York."
    assert swaps.exchange(swaps.exchange(text, PAIRS), PAIRS) == text


def test_what_is_no_pair_is_refused() -> None:
    def check(pair: list[str]) -> None:
        with pytest.raises(UserError, match="is no pair of two different words"):
            swaps.check([pair])

    each([(["he"],), (["he", "He "],), (["he", ""],), (["a", "b", "c"],)], check)
    assert swaps.check([["he ", "she"]]) == (("he", "she"),)
