"""Ranges of options."""

from __future__ import annotations

import math

import pytest
from conftest import each

from ftlight.tasks.text_classification.data import TextData
from ftlight.utils.errors import UserError
from ftlight.utils.ranges import check_range


def test_bounds_hold_or_are_named() -> None:
    check_range("data.x", None, least=1)
    check_range("data.x", 1, least=1, most=1)
    cases = [
        (0, {"least": 1}, "at least 1"),
        (2, {"most": 1}, "at most 1"),
        (0, {"above": 0, "below": 1}, "above 0 and below 1"),
        (1, {"least": 0, "below": 1}, "at least 0 and below 1"),
        (math.nan, {"least": 0}, "at least 0"),
        (2000, {"most": 1000}, "at most 1,000"),
    ]

    def check(value: float, bounds: dict[str, float], words: str) -> None:
        with pytest.raises(UserError) as error:
            check_range("data.x", value, **bounds)
        assert str(error.value) == f"data.x: {value} is out of range; it must be {words}"

    each(cases, check)


def test_plain_python_refuses_too() -> None:
    with pytest.raises(UserError, match=r"data\.batch_size: 0 is out of range"):
        TextData("a.csv", batch_size=0)
