"""Intervals: against scipy and by hand, and how often they hold the truth of a population."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import each
from scipy import stats

from ftlight.metrics import classes as metrics
from ftlight.metrics import intervals, regression, statistics, texts
from ftlight.metrics.intervals import UNIT, around, bootstrap


def share(sums: torch.Tensor) -> float:
    return float(sums[0] / sums[1])


def parts_of(values: np.ndarray) -> torch.Tensor:
    """Values and ones ``[rows, 2]``, whose sums give the mean."""
    return torch.from_numpy(np.stack([values, np.ones(len(values))], 1))


def test_wilson_of_a_known_case() -> None:
    low, high = statistics.wilson(0.9, 30)
    assert (round(low, 4), round(high, 4)) == (0.7438, 0.9654)


def test_wilson() -> None:
    def check(rows: int, share: float) -> None:
        right = round(share * rows)
        expected = stats.binomtest(right, rows).proportion_ci(method="wilson")
        low, high = statistics.wilson(right / rows, rows)
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-6)
        assert 0 <= low <= right / rows + 1e-12
        assert right / rows - 1e-12 <= high <= 1

    each([(rows, share) for rows in [1, 5, 30, 1000] for share in [0, 0.2, 0.5, 0.8, 1]], check)


def test_wilson_at_the_bounds() -> None:
    def check(rows: int) -> None:
        low, high = statistics.wilson(0.0, rows)
        assert low == pytest.approx(0, abs=1e-12)
        assert 0 < high < 1
        low, high = statistics.wilson(1.0, rows)
        assert high == pytest.approx(1, abs=1e-12)
        assert 0 < low < 1

    each([1, 10, 500], check)


# Bootstrap


def test_the_interval_of_a_mean_is_that_of_scipy_and_students() -> None:
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap(parts_of(values), share, 4000)
    drawn = stats.bootstrap((values,), np.mean, n_resamples=4000, rng=1).confidence_interval
    assert (low, high) == pytest.approx((drawn.low, drawn.high), abs=0.01)
    few = values[:12]
    exact = stats.ttest_1samp(few, 0).confidence_interval(0.95)
    assert bootstrap(parts_of(few), share, 20_000) == pytest.approx(exact, abs=0.02)


def test_the_interval_of_a_share_is_nearly_wilsons() -> None:
    def check(right: int, rows: int) -> None:
        values = np.arange(rows) < right
        found = bootstrap(parts_of(values.astype(float)), share, 4000, UNIT)
        assert found == pytest.approx(statistics.wilson(right / rows, rows), abs=0.02)

    each([(190, 200), (100, 200), (48, 50), (3, 3), (0, 40), (1, 1)], check)


def test_equal_rows_are_no_certainty() -> None:
    def check(value: float, bounds: tuple[float, float], low: float, high: float) -> None:
        found = bootstrap(parts_of(np.full(3, value)), share, 50, bounds)
        assert found == pytest.approx((low, high), abs=1e-3, nan_ok=True)

    unseen = statistics.wilson(0, 3)[1]
    each(
        [
            (1.0, UNIT, 1 - unseen, 1.0),
            (0.0, UNIT, 0.0, unseen),
            (0.5, UNIT, 0.5 - unseen / 2, 0.5 + unseen / 2),
            (0.0, (-1.0, 1.0), -unseen, unseen),
            (100.0, (0.0, 100.0), 100 - 100 * unseen, 100.0),
            (1.0, (-math.inf, 1.0), math.nan, 1.0),
            (2.0, intervals.UNBOUNDED, math.nan, math.nan),
        ],
        check,
    )


def test_an_interval_stays_in_its_bounds_and_holds_its_score() -> None:
    random = np.random.default_rng(1)
    for rows in (1, 2, 3, 7, 40):
        for bounds in (UNIT, (-0.5, 1.5), (-math.inf, 1.0), (0.0, math.inf)):
            values = random.beta(5, 0.2, rows)
            low, high = bootstrap(parts_of(values), share, 50, bounds)
            if rows > 1:
                assert bounds[0] <= low <= values.mean() <= high <= bounds[1]


def test_a_score_that_rounding_takes_past_its_bound() -> None:
    score = 100.00000000000004
    low, high = around(score, torch.full((9,), score), 20, (0.0, 100.0))
    assert low == pytest.approx(100 * statistics.wilson(1, 20)[0])
    assert high == score


def test_around_counts_the_bias_of_resamples() -> None:
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(2000, generator=random, dtype=torch.double) * 0.01
    fair, low = (around(0.6, 0.6 - bias + noise, 1000, UNIT) for bias in (0, 0.03))
    assert fair[1] - fair[0] == pytest.approx(2 * 1.96 * 0.01, rel=0.05)
    assert low[1] - low[0] == pytest.approx(2 * 1.96 * math.hypot(0.01, 0.03), rel=0.05)


def test_what_is_undefined_has_no_interval() -> None:
    assert all(math.isnan(x) for x in bootstrap(torch.zeros(0, 2), lambda sums: 1.0))
    assert all(math.isnan(x) for x in bootstrap(torch.zeros(3, 2), lambda sums: math.nan))
    wild = torch.tensor([0.4, math.nan, 0.6, math.inf], dtype=torch.double)
    assert around(0.5, wild, 50, UNIT) == around(0.5, wild[[0, 2]], 50, UNIT)


def test_resamples_are_the_same_in_any_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = parts_of(np.random.default_rng(0).random(30))
    whole = bootstrap(parts, share, 100)
    monkeypatch.setattr(intervals, "CELLS", 90)
    assert bootstrap(parts, share, 100) == whole


# Scores


def test_bootstrap_f1() -> None:
    def check(seed: int) -> None:
        rng = np.random.default_rng(seed)
        target = torch.from_numpy(rng.random((120, 4)) < 0.3).float()
        probabilities = torch.from_numpy(rng.random((120, 4))) * 0.6 + 0.3 * target
        torch.manual_seed(seed)
        low, high = metrics.bootstrap_f1(probabilities, target, 200)
        point = metrics.multi_label(probabilities, target)["f1_micro"]
        assert 0 <= low < point < high <= 1
        assert high - low < 0.25
        state = torch.get_rng_state()
        assert (low, high) == metrics.bootstrap_f1(probabilities, target, 200)
        assert bool(
            (state == torch.get_rng_state()).all()
        )  # the run's random numbers stay as they were

    each(range(3), check)


def test_bootstrap_f1_narrows_with_rows() -> None:
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.random((2000, 2)) < 0.5).float()
    probabilities = torch.where(torch.from_numpy(rng.random((2000, 2))) < 0.8, target, 1 - target)
    few, many = (
        np.diff(metrics.bootstrap_f1(probabilities[:n], target[:n], 200)).item()
        for n in (100, 2000)
    )
    assert many < few / 3


def test_bootstrap_f1_at_the_bounds() -> None:
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert metrics.bootstrap_f1(target, target, 50) == pytest.approx(statistics.wilson(1, 3))
    for other in (target, torch.zeros(3, 2)):
        assert metrics.bootstrap_f1(1 - target, other, 50)[0] == 0


def confusion(actual: np.ndarray, predicted: np.ndarray, classes: int) -> torch.Tensor:
    cells = np.bincount(actual * classes + predicted, minlength=classes**2)
    return torch.from_numpy(cells.reshape(classes, classes))


def test_macro_f1_is_resampled_as_if_row_by_row() -> None:
    random, f1s = np.random.default_rng(0), []
    actual = random.integers(5, size=150)
    predicted = np.where(random.random(150) < 0.8, actual, random.integers(5, size=150))
    for _ in range(1500):
        rows = random.integers(150, size=150)
        matrix = confusion(actual[rows], predicted[rows], 5).numpy()
        f1s.append((2 * matrix.diagonal() / (matrix.sum(0) + matrix.sum(1))).mean())
    whole = confusion(actual, predicted, 5)
    scores = metrics._averages(*(x.double() for x in (whole.diag(), whole.sum(0), whole.sum(1))))
    expected = around(scores["f1"], torch.tensor(f1s), 150, UNIT)
    assert metrics.bootstrap_macro_f1(whole) == pytest.approx(expected, abs=0.005)


def test_macro_f1_of_little() -> None:
    assert all(math.isnan(x) for x in metrics.bootstrap_macro_f1(torch.zeros(3, 3).long()))
    right = torch.eye(3).long()
    assert metrics.bootstrap_macro_f1(right) == pytest.approx(statistics.wilson(1, 3))
    wrong = right.roll(1, 0)
    assert metrics.bootstrap_macro_f1(wrong) == pytest.approx(statistics.wilson(0, 3))
    one_class = torch.tensor([[9, 0], [0, 0]])  # the other has an F1 of 0
    low, high = metrics.bootstrap_macro_f1(one_class)
    assert low < 0.5 < high


def test_macro_f1_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = torch.tensor([[40, 3], [2, 30]])
    whole = metrics.bootstrap_macro_f1(matrix)
    monkeypatch.setattr(metrics, "CELLS", 100)
    assert metrics.bootstrap_macro_f1(matrix) == whole


def test_rare_classes() -> None:
    matrix = torch.tensor([[10, 5, 0], [9, 0, 0], [0, 0, 0]])
    assert metrics.rare_classes(matrix).tolist() == [1, 2]
    assert metrics.rare_classes(matrix, 9).tolist() == [2]


def test_intervals_of_a_regression() -> None:
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.normal(1e6, 1, 300))
    y = x + torch.from_numpy(random.normal(size=300))
    found, values = regression.bootstrap_ends(x, y), regression.scores(x, y)
    by_fisher = stats.pearsonr(x.numpy(), y.numpy()).confidence_interval(0.95)
    assert found["pearson"] == pytest.approx(by_fisher, abs=0.02)
    assert found["r2"][0] < values["r2"] < found["r2"][1]
    constant = regression.bootstrap_ends(x, torch.ones(300))
    assert all(math.isnan(end) for ends in constant.values() for end in ends)


def test_the_interval_of_a_perplexity() -> None:
    random = np.random.default_rng(0)
    tokens = random.integers(5, 50, 200)
    parts = torch.from_numpy(np.stack([tokens * random.gamma(4, 0.5, 200), tokens], 1))
    loss, count = parts.sum(0).tolist()
    low, high = texts.bootstrap_perplexity(parts)
    middle = texts.perplexity(loss, count)
    assert 1 < low < middle < high
    assert middle / low == pytest.approx(high / middle)
    assert all(math.isnan(x) for x in texts.bootstrap_perplexity(torch.zeros(2, 2)))


# Coverage, of few simulated test sets: scripts/bench/intervals.py counts more


def coverage(interval: Callable[[np.random.Generator], tuple[float, float]], true: float) -> float:
    """Share of 200 simulated test sets whose interval holds the truth."""
    random = np.random.default_rng(0)
    ends = np.array([interval(random) for _ in range(200)])
    return float(np.mean((ends[:, 0] <= true) & (true <= ends[:, 1])))


def test_macro_f1_is_covered() -> None:
    def check(classes: int, rows: int, right: float) -> None:
        cells = np.full((classes, classes), (1 - right) / (classes - 1) / classes)
        np.fill_diagonal(cells, right / classes)

        def interval(random: np.random.Generator) -> tuple[float, float]:
            drawn = random.multinomial(rows, cells.ravel()).reshape(cells.shape)
            return metrics.bootstrap_macro_f1(torch.from_numpy(drawn), 100)

        assert 0.9 <= coverage(interval, right) <= 0.99  # f1 is the accuracy: all is symmetric

    each([(2, 200, 0.9), (2, 50, 0.97), (16, 576, 0.84), (77, 3080, 0.93)], check)


def test_a_mean_near_its_bound_is_covered() -> None:
    """Percentiles cover .76 of these."""

    def interval(random: np.random.Generator) -> tuple[float, float]:
        scores = np.where(random.random(40) < 0.95, 1.0, random.random(40))
        return bootstrap(parts_of(scores), share, 100, UNIT)

    assert 0.9 <= coverage(interval, 0.975) <= 0.99


def test_a_correlation_with_heavy_tails_is_covered() -> None:
    """Fisher's interval covers .79 of these."""

    def interval(random: np.random.Generator) -> tuple[float, float]:
        scale = np.sqrt(4 / random.chisquare(4, 100))
        x, noise = random.normal(size=(2, 100)) * scale
        y = 0.6 * x + 0.8 * noise
        pair = torch.from_numpy(x), torch.from_numpy(y)
        return regression.bootstrap_ends(*pair, 60)["pearson"]

    assert 0.88 <= coverage(interval, 0.6) <= 0.99
