"""Differences of groups: a planted one is found, chance is not, and shares as by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import each
from scipy import stats

from ftlight.metrics import groups
from ftlight.metrics.statistics import holm


def test_groups_of_right_and_wrong_are_compared_as_shares_are() -> None:
    draw = np.random.default_rng(0)
    names = draw.choice(["a", "b", "c"], 400, p=[0.5, 0.3, 0.2])

    def check(apart: float) -> None:
        right = (draw.random(400) < np.where(names == "c", 0.8 - apart, 0.8)).astype(float)
        found = groups.p_values(names.tolist(), right, ["a", "b", "c"])
        for name, p in found.items():
            table = [[right[g].sum(), (1 - right[g]).sum()] for g in (names == name, names != name)]
            chi = stats.chi2_contingency(table, correction=False)
            assert p == pytest.approx(chi.pvalue, abs=1e-9)

    each([(0.0,), (0.2,), (0.4,)], check)


def test_chance_alone_seldom_shows_a_group() -> None:
    draw, alarms = np.random.default_rng(0), 0
    for _ in range(400):
        names = draw.choice(list("abcde"), 500).tolist()
        right = (draw.random(500) < 0.85).astype(float)
        alarms += min(holm(list(groups.p_values(names, right, list("abcde")).values()))) < 0.05
    assert alarms / 400 < 0.08


def test_small_groups_and_equal_scores_say_nothing() -> None:
    names = ["a"] * 30 + ["b"] * 29
    assert groups.large([*names, *[""] * 50]) == ["a"]
    assert groups.p_values(names, np.ones(59), ["a", "b"]) == {}
    assert groups.p_values(["a"] * 40 + ["b"] * 40, np.ones(80), ["a"]) == {"a": 1.0}
    assert groups.summary({"a": 0.5}) == {}
    assert groups.summary({"a": -0.1, "b": 0.4})["ratio"] is None
