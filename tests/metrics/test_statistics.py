"""Comparing two models row by row."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ftlight.metrics import statistics
from ftlight.metrics.statistics import paired_bootstrap


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
