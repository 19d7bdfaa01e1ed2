"""Comparing two models row by row."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import each
from scipy import stats

from ftlight.metrics import statistics
from ftlight.metrics.statistics import holm, mcnemar, paired_bootstrap


def test_the_interval_and_the_probability_are_those_of_scipy() -> None:
    random = np.random.default_rng(3)
    old = (random.random(400) < 0.7).astype(float)
    new = np.where(random.random(400) < 0.1, 1 - old, old) + 0.0
    new[:12] = 1.0
    found = paired_bootstrap(new, old, draws=20_000)
    of_scipy = stats.bootstrap(
        (new - old,), np.mean, n_resamples=20_000, method="percentile", rng=1
    )
    low, high = of_scipy.confidence_interval
    assert found.gain == pytest.approx(np.mean(new) - np.mean(old))
    assert found.half == pytest.approx((high - low) / 2, rel=0.05)
    means = of_scipy.bootstrap_distribution
    assert found.better == pytest.approx(np.mean(means > 0) + np.mean(means == 0) / 2, abs=0.01)


def test_swapping_the_models_turns_the_answer_round() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=300), random.normal(0.1, size=300)
    there, back = paired_bootstrap(a, b), paired_bootstrap(b, a)
    assert there.better == pytest.approx(1 - back.better)
    assert there.gain == pytest.approx(-back.gain)


def test_it_is_the_same_each_time_and_in_any_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.arange(50) % 3 * 1.0, np.ones(50)
    whole = paired_bootstrap(a, b)
    assert paired_bootstrap(a, b) == whole
    monkeypatch.setattr(statistics, "CELLS", 700)
    assert paired_bootstrap(a, b) == whole
    assert paired_bootstrap(a, b, seed=1) != whole


@pytest.mark.parametrize(("new", "old"), [([], []), ([1.0], [math.nan]), ([1.0, 2.0], [1.0] * 3)])
def test_what_cannot_be_compared_is_refused(new: list[float], old: list[float]) -> None:
    with pytest.raises(ValueError, match=r"finite|broadcast"):
        paired_bootstrap(np.array(new), np.array(old))


# Tests of right and wrong


def pairs(won: int, lost: int, both: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong of two models that differ in won and lost rows."""
    new = np.repeat([True, False, True], [won, lost, both])
    return new, np.repeat([False, True, True], [won, lost, both])


def test_mcnemar_is_the_exact_test_less_the_probability_of_what_was_seen() -> None:
    def check(won: int, lost: int) -> None:
        exact = stats.binomtest(won, won + lost).pvalue
        seen = stats.binom.pmf(won, won + lost, 0.5)
        assert mcnemar(*pairs(won, lost)) == pytest.approx(exact - seen)
        assert mcnemar(*pairs(lost, won)) == pytest.approx(exact - seen)

    each([(1, 7), (0, 5), (12, 25), (400, 500), (70_000, 71_000)], check)


def test_mcnemar_of_the_textbook() -> None:
    """Airway hyper-responsiveness before and after (Fagerland, Lydersen and Laake 2013)."""
    assert mcnemar(*pairs(7, 1, 13)) == pytest.approx(0.0391, abs=5e-5)


def test_models_that_are_as_good_do_not_differ() -> None:
    assert mcnemar(*pairs(0, 0)) == 1.0
    assert mcnemar(*pairs(6, 6)) == pytest.approx(1.0)
    assert mcnemar(*pairs(0, 1)) == pytest.approx(0.5)
    assert mcnemar(*pairs(2000, 0)) == pytest.approx(0.0, abs=1e-300)


def test_false_alarms_are_rare() -> None:
    """Both models are right on each row with the same probability, independently."""
    random = np.random.default_rng(0)

    def check(rows: int, right: float) -> None:
        draws = random.random((1500, 2, rows)) < right
        alarms = np.mean([mcnemar(new, old) < 0.05 for new, old in draws])
        assert 0.02 < alarms <= 0.065

    each([(60, 0.8), (400, 0.9)], check)
    draws = random.random((300, 2, 300)) < 0.85
    found = [paired_bootstrap(*pair, draws=200).better for pair in draws]
    assert np.mean([not 0.025 < better < 0.975 for better in found]) <= 0.07


def test_rows_that_are_neither_right_nor_wrong_are_refused() -> None:
    def check(new: list[float], old: list[float]) -> None:
        with pytest.raises(ValueError, match="right or wrong"):
            mcnemar(np.array(new), np.array(old))

    each([([], []), ([1.0], [0.5]), ([1.0], [math.nan]), ([1.0, 0.0], [1.0])], check)


def test_holm_by_hand() -> None:
    """The first is p.adjust's of R; a later p-value is never below an earlier one."""

    def check(given: list[float], adjusted: list[float]) -> None:
        assert holm(given) == pytest.approx(adjusted)

    each(
        [
            ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
            ([0.04, 0.01, 0.02], [0.04, 0.03, 0.04]),
            ([0.6, 0.5], [1.0, 1.0]),
            ([0.02, 0.02], [0.04, 0.04]),
            ([0.3], [0.3]),
            ([], []),
        ],
        check,
    )
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            holm([0.5, wrong])


def test_holm_keeps_false_alarms_of_families_rare() -> None:
    random = np.random.default_rng(0)
    families = random.random((2000, 6))
    assert np.mean([min(holm(family.tolist())) < 0.05 for family in families]) <= 0.06
