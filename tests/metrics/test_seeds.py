"""Spread and differences of runs of several seeds, beside scipy and a permutation test."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from ftlight.metrics.seeds import difference, spread, student, student_quantile


def runs(
    random: np.random.Generator, shift: float, count: int = 5, rows: int = 300, own: float = 0.1
) -> np.ndarray:
    """Right or wrong of runs on rows that are hard or easy for all of them."""
    hard = np.random.default_rng(7).normal(1, 1.5, rows)
    noise = random.normal(0, own, (count, 1)) + random.normal(0, 0.7, (count, rows))
    return (random.random((count, rows)) < 1 / (1 + np.exp(-(hard + shift + noise)))).astype(float)


def test_student_is_that_of_scipy() -> None:
    for freedom in (1, 2, 4.5, 30, 400):
        for t in (0.0, 0.3, 2.0, -5.0):
            assert student(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), abs=1e-9)
        assert student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-6)


def test_the_spread_over_seeds_is_an_interval_of_student() -> None:
    scores = runs(np.random.default_rng(0), 0.0)
    found, own = spread(scores), scores.mean(1)
    low, high = stats.t.interval(0.95, 4, own.mean(), stats.sem(own))
    assert found.seeds == pytest.approx((high - low) / 2)
    assert found.sd == pytest.approx(own.std(ddof=1))
    half = 1.96 * stats.sem(scores.mean(0))
    assert (found.low, found.high) == pytest.approx(
        (found.mean - half, found.mean + half), abs=0.01
    )
    assert spread(scores[:1])[3:] == (None, None)
    losses = spread(-scores - 1)  # no shares
    assert (losses.low, losses.high) == pytest.approx((losses.mean - half, losses.mean + half))


def test_rows_that_do_not_differ_still_leave_an_interval() -> None:
    right = np.ones((1, 18))
    assert spread(right)[:3] == (1.0, pytest.approx(0.824, abs=1e-3), 1.0)
    found = difference(right, right)
    assert (found.gain, found.p) == (0.0, 1.0)
    assert (found.low, found.high) == pytest.approx((-0.176, 0.176), abs=1e-3)


def test_seeds_are_compared_as_welch_and_a_permutation_of_runs_do() -> None:
    for shift in (0.0, 0.15, 0.3):
        random = np.random.default_rng(3)
        new, old = runs(random, shift), runs(random, 0.0)
        found = difference(new, old)
        welch = stats.ttest_ind(new.mean(1), old.mean(1), equal_var=False).pvalue
        assert found.p_seeds == pytest.approx(welch, abs=1e-9)
        own = np.concatenate([new.mean(1), old.mean(1)])
        ways = [list(way) for way in itertools.combinations(range(10), 5)]
        gains = [own[way].mean() * 2 - own.mean() * 2 for way in ways]
        permuted = np.mean(np.abs(gains) >= abs(found.gain) - 1e-12)
        assert found.p_seeds == pytest.approx(permuted, abs=0.05)
        assert found.low < found.gain < found.high
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_no_difference_is_found_in_five_of_a_hundred_alike() -> None:
    random, alarms = np.random.default_rng(1), 0
    for _ in range(200):
        own = random.normal(0, 0.5, 300)  # what some rows are to one schedule, others to the other
        pair = []
        for sign in (1, -1):
            noise = random.normal(0, 0.08, (4, 1)) + random.normal(0, 1, (4, 300))
            hard = np.random.default_rng(7).normal(1, 1.5, 300) + sign * own / 2
            chance = 1 / (1 + np.exp(-(hard + noise)))
            pair.append((random.random((4, 300)) < chance).astype(float))
        alarms += difference(*pair).p < 0.05
    assert 2 <= alarms <= 20  # 10 expected; beyond, 1 in 1,000 by chance


def test_single_runs_are_compared_row_by_row() -> None:
    random = np.random.default_rng(0)
    new, old = runs(random, 0.5, 1), runs(random, 0.0, 1)
    found = difference(new, old)
    more, less = int((new > old).sum()), int((new < old).sum())
    exact = stats.binomtest(more, more + less).pvalue
    assert found.p == found.p_rows == pytest.approx(exact, abs=0.05)
    assert found.p_seeds is None
    parts = difference(new + random.normal(0, 0.01, new.shape), old)
    assert parts.p == pytest.approx(exact, abs=0.05)


def test_a_single_run_beside_several_spreads_as_they_do() -> None:
    random = np.random.default_rng(0)
    new, old = runs(random, 0.5, 1), runs(random, 0.0)
    found, own = difference(new, old), old.mean(1)
    error = own.std(ddof=1) * np.sqrt(1 + 1 / 5)
    # as many degrees of freedom as the several have, counted for both
    assert found.p_seeds is not None
    assert found.p_seeds < 2 * stats.t.sf(abs(found.gain) / error, 4) + 1e-9


def test_equal_runs() -> None:
    same = np.ones((3, 9))
    assert difference(same - 2, same - 2)[:4] == (0.0, 0.0, 0.0, 1.0)  # no shares
    with pytest.raises(ValueError, match="finite"):
        difference(np.full((2, 3), np.nan), np.ones((2, 3)))
