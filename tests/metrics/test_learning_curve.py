"""Learning curves: what twice the data would give."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import each

from ftlight.metrics.learning_curve import Curve, fit, forecast, sizes_of

SIZES = [125, 250, 500, 1000, 2000]


def errors(curve: Curve, seed: int, rows: int = 1000, draws: int = 3) -> list[np.ndarray]:
    """Rows that are wrong by a curve; the same ones are hard at every size."""
    random = np.random.default_rng(seed)
    hard = random.random(rows)
    found = []
    for size in SIZES:
        own = 1 if size == SIZES[-1] else draws
        noise = random.normal(0, 0.05, (own, rows))
        found.append((hard[None] + noise < curve.error(size)).astype(float))
    return found


def test_a_curve_without_noise_is_found() -> None:
    def check(a: float, b: float, c: float) -> None:
        planted = Curve(a, b, c)
        means = np.array([[planted.error(size) for size in SIZES]])
        found = Curve(*fit(np.array(SIZES, float), means)[0])
        assert found.error(4000) == pytest.approx(planted.error(4000), rel=0.02)

    each([(0.05, 2.0, 0.5), (0.0, 1.0, 0.3), (0.2, 0.0, 1.0), (0.1, 30.0, 1.2)], check)


def test_the_intervals_hold_what_twice_and_four_times_the_rows_give() -> None:
    planted, held, held_of_four = Curve(0.03, 1.5, 0.45), 0, 0
    for seed in range(40):
        found = forecast(SIZES, errors(planted, seed), draws=200)
        assert found is not None
        gain = planted.error(2000) - planted.error(4000)
        held += found.twice.low <= gain <= found.twice.high
        gain = planted.error(2000) - planted.error(8000)
        held_of_four += found.four_times.low <= gain <= found.four_times.high
        assert found.four_times.value >= found.twice.value
    assert min(held, held_of_four) >= 34


def test_more_data_help_only_if_the_last_doubling_did() -> None:
    falls = forecast(SIZES, errors(Curve(0.0, 3.0, 0.5), 0))
    assert falls is not None
    assert falls.helps
    flat = [forecast(SIZES, errors(Curve(0.2, 0.0, 1.0), seed), draws=200) for seed in range(20)]
    assert sum(found is not None and found.helps for found in flat) <= 2


def test_two_sizes_tell_no_curve() -> None:
    few = [np.ones((1, 9)), np.zeros((1, 9))]
    assert forecast([10, 20], few) is None
    assert sizes_of(30, 20) == [30]
    assert sizes_of(10, 20) == [10]
