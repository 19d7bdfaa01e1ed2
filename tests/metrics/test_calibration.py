"""Calibration: planted temperatures, scikit-learn and scipy, and promises kept on new rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import each
from scipy import optimize, stats
from torch.nn import functional as F

from ftlight.metrics import calibration
from ftlight.metrics.calibration import (
    calibration_error,
    calibration_floor,
    conformal_quantile,
    fit_temperature,
    held_out,
    prediction_sets,
    rows_needed,
    selective_threshold,
    true_class_scores,
)
from ftlight.metrics.statistics import wilson


def population(
    rows: int, classes: int = 8, spread: float = 2.2, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a calibrated model ``[rows, classes]``, and classes drawn by their softmax."""
    random = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(rows, classes, generator=random, dtype=torch.double)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=random).squeeze(1)


# Temperature


def test_a_planted_temperature_is_found() -> None:
    logits, targets = population(8000)

    def check(planted: float) -> None:
        assert fit_temperature(logits * planted, targets) == pytest.approx(planted, rel=0.05)
        members = (
            torch.rand(logits.shape, generator=torch.manual_seed(0)) < logits.sigmoid()
        ).int()
        assert fit_temperature(logits * planted, members) == pytest.approx(planted, rel=0.05)

    each([0.4, 1.0, 2.5], check)


def test_the_temperature_has_the_least_loss() -> None:
    logits, targets = population(300, 5)
    members = F.one_hot(targets, 5)

    def check(of_labels: bool) -> None:
        def loss(temperature: float) -> float:
            if of_labels:
                scaled = logits / temperature
                return F.binary_cross_entropy_with_logits(scaled, members.double()).item()
            return F.cross_entropy(logits / temperature, targets).item()

        best = optimize.minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x
        found = fit_temperature(logits, members if of_labels else targets)
        assert found == pytest.approx(best, rel=1e-3)

    each([False, True], check)


def test_the_temperature_takes_the_error_to_its_floor() -> None:
    logits, targets = population(4000)
    temperature = fit_temperature(logits[:2000] * 2.5, targets[:2000])

    def error(divisor: float) -> tuple[float, float]:
        confidence, predicted = (logits[2000:] * 2.5 / divisor).softmax(1).max(1)
        right = predicted == targets[2000:]
        return calibration_error(confidence, right), calibration_floor(confidence)

    before, after = error(1.0), error(temperature)
    assert before[0] > 4 * before[1]
    assert after[0] < 1.6 * after[1]


def test_no_temperature_can_be_fitted() -> None:
    def check(logits: list[list[float]], targets: list[int]) -> None:
        assert fit_temperature(torch.tensor(logits), torch.tensor(targets)) == 1.0

    each(
        [
            ([[1.0, 0.0]], [0]),
            ([[1.0, 0.0]], [1]),
            ([[3.0, 0.0], [0.0, 2.0]], [0, 1]),  # all right
            ([[3.0, 0.0], [0.0, 2.0]], [1, 0]),  # all wrong
            ([[4.0], [-1.0]], [0, 0]),  # one class
            ([[0.0, 0.0], [0.0, 0.0]], [0, 1]),
        ],
        check,
    )
    assert fit_temperature(torch.tensor([[3.0, -2.0]]), torch.tensor([[1, 0]])) == 1.0


def test_the_temperature_of_huge_logits_is_bounded() -> None:
    logits, targets = population(500)
    assert fit_temperature(logits * 1e6, targets) == 1.0
    assert fit_temperature(logits * 50, targets) == pytest.approx(50, rel=0.2)


# Calibration error


def test_the_floor_is_what_calibrated_models_show() -> None:
    random = np.random.default_rng(7)

    def check(rows: int) -> None:
        confidence = torch.from_numpy(random.beta(6, 1, rows))
        shown = [
            calibration_error(confidence, torch.from_numpy(random.random(rows)) < confidence)
            for _ in range(300)
        ]
        assert calibration_floor(confidence) == pytest.approx(np.median(shown), rel=0.08)

    each([30, 400, 3000], check)


def test_the_floor_of_certain_rows_is_zero_and_that_of_one_is_its_doubt() -> None:
    assert calibration_floor(torch.ones(50)) == 0
    assert calibration_floor(torch.tensor([0.75])) == pytest.approx(0.25)
    assert calibration_floor(torch.full((99,), 0.8), seed=1) > 0
    floors = [calibration_floor(torch.full((n,), 0.8)) for n in (50, 5000)]
    assert floors[1] < floors[0] / 5


# Thresholds


def test_the_threshold_by_hand() -> None:
    """300 sure and right rows, then 100 of which every second is wrong."""
    confidence = torch.cat([torch.linspace(1.0, 0.8, 300), torch.linspace(0.7, 0.5, 100)])
    right = torch.cat([torch.ones(300), torch.arange(100) % 2]).bool()
    found = selective_threshold(confidence, right, 0.95)
    assert found is not None
    answered = confidence >= found
    rows, hits = int(answered.sum()), int(right[answered].sum())
    assert 300 < rows < 330
    assert wilson(hits / rows, rows, calibration.Z_ONE_SIDED)[0] >= 0.95
    strict = selective_threshold(confidence, right, 0.98)
    assert strict is not None
    assert found < strict <= 0.8
    assert selective_threshold(confidence[:250], right[:250], 0.99) is None


def test_the_fewest_rows_of_a_goal() -> None:
    def check(goal: float) -> None:
        rows = rows_needed(goal)
        for enough, count in ((False, rows - 1), (True, rows)):
            found = selective_threshold(torch.linspace(0.5, 1, count), torch.ones(count), goal)
            assert (found == 0.5) is enough

    each([0.5, 0.8, 0.95, 0.98, 0.99], check)
    interval = stats.binomtest(133, 133, alternative="greater").proportion_ci(0.95, "wilson")
    assert interval.low >= 0.98


def test_rows_of_equal_confidence_are_answered_together() -> None:
    confidence = torch.cat([torch.full((100,), 0.9), torch.full((100,), 0.6)])
    right = torch.ones(200)
    assert selective_threshold(confidence, right, 0.95) == pytest.approx(0.6)
    right[100:140] = 0  # the first of the ties are right in one order, wrong in another
    for order in (torch.arange(200), torch.arange(200).flip(0)):
        found = selective_threshold(confidence[order], right[order], 0.95)
        assert found == pytest.approx(0.9)
    assert selective_threshold(torch.full((200,), 0.7), right, 0.95) is None


def test_nothing_right_keeps_no_goal() -> None:
    assert selective_threshold(torch.rand(500), torch.zeros(500), 0.5) is None
    assert selective_threshold(torch.ones(1), torch.ones(1), 0.5) is None


def test_a_lucky_threshold_behind_a_failure_is_not_taken() -> None:
    confidence = torch.linspace(1, 0, 1000)
    right = torch.ones(1000)
    right[60:70] = 0  # the bound fails there, and holds again at the end
    found = selective_threshold(confidence, right, 0.95)
    assert found is not None
    assert found > confidence[70]


def test_the_goal_is_kept_on_new_rows() -> None:
    logits, targets = population(100_000, spread=5.0)
    confidence, predicted = logits.softmax(1).max(1)
    right = predicted == targets
    random = np.random.default_rng(0)

    def check(goal: float) -> None:
        kept = []
        for _ in range(50):
            rows = torch.from_numpy(random.integers(len(right), size=1000))
            found = selective_threshold(confidence[rows], right[rows], goal)
            if found is not None:
                kept.append(right[confidence >= found].double().mean().item() >= goal)
        assert len(kept) >= 45
        assert np.mean(kept) >= 0.9

    each([0.8, 0.9, 0.95], check)


# Conformal


def test_the_quantile_by_hand() -> None:
    def check(count: int, coverage: float, expected: float) -> None:
        scores = torch.arange(1.0, count + 1)[torch.randperm(count)]
        assert conformal_quantile(scores, coverage) == expected

    each([(99, 0.55, 55.0), (19, 0.95, 19.0), (18, 0.95, math.inf), (1, 0.5, 1.0)], check)
    scores = torch.from_numpy(np.random.default_rng(0).random(50))
    by_numpy = np.quantile(scores, math.ceil(51 * 0.9) / 50, method="inverted_cdf")
    assert conformal_quantile(scores, 0.9) == by_numpy


def test_sets_hold_the_class_as_often_as_promised() -> None:
    logits, targets = population(3000)
    probabilities = (logits * 2).softmax(1)  # far too sure, which sets do not mind
    random = np.random.default_rng(0)

    def check(coverage: float) -> None:
        held = []
        for _ in range(50):
            order = torch.from_numpy(random.permutation(3000))
            fitted, new = order[:1000], order[1000:]
            scores = true_class_scores(probabilities[fitted], targets[fitted])
            sets = prediction_sets(probabilities[new], conformal_quantile(scores, coverage))
            assert bool(sets.any(1).all())
            held.append(sets.gather(1, targets[new][:, None]).double().mean().item())
        assert np.mean(held) == pytest.approx(coverage, abs=0.015)

    each([0.8, 0.9, 0.98], check)


def test_ranges_hold_the_number_as_often_as_promised() -> None:
    random = np.random.default_rng(0)
    held = []
    for _ in range(50):
        errors = torch.from_numpy(random.standard_t(3, 600)).abs()
        held.append((errors[300:] <= conformal_quantile(errors[:300], 0.9)).double().mean().item())
    assert np.mean(held) == pytest.approx(0.9, abs=0.015)


def test_sets_of_any_quantile() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]])
    assert prediction_sets(probabilities, math.inf).all()
    assert prediction_sets(probabilities, 0.1).int().tolist() == [[1, 0, 0], [1, 0, 0]]
    assert prediction_sets(probabilities, 0.7).int().tolist() == [[1, 0, 0], [1, 1, 0]]
    assert prediction_sets(torch.ones(2, 1), 0.0).all()


# Rows


def test_half_of_many_rows_are_held_out() -> None:
    few, many = held_out(999), held_out(1001)
    assert few.rows.tolist() == list(range(999))
    assert (few.apart, many.apart) == (False, True)
    assert len(many.rows) == len(many.rows.unique()) == 500
    assert 0 <= many.rows.min() < many.rows.max() <= 1000
    assert many.rows.sort().values.tolist() == many.rows.tolist()
    assert held_out(1001).rows.equal(many.rows)
    assert not held_out(1001, seed=1).rows.equal(many.rows)


def test_what_is_no_number_is_refused() -> None:
    def check(wrong: float) -> None:
        values = torch.tensor([0.5, wrong])
        logits = torch.stack([values, values], 1)
        for call in (
            lambda: fit_temperature(logits, torch.tensor([0, 1])),
            lambda: calibration_floor(values),
            lambda: selective_threshold(values, values > 0, 0.9),
            lambda: conformal_quantile(values, 0.9),
            lambda: prediction_sets(logits, 0.5),
        ):
            with pytest.raises(ValueError, match="must be finite"):
                call()

    each([math.nan, math.inf], check)


def test_no_rows_and_shares_out_of_range_are_refused() -> None:
    none, some = torch.zeros(0), torch.ones(3)
    with pytest.raises(ValueError, match="at least one row"):
        fit_temperature(torch.zeros(0, 3), none.long())
    with pytest.raises(ValueError, match="at least one row"):
        conformal_quantile(none, 0.9)
    for share in (0.0, 1.0, 95.0):
        for call in (lambda s: conformal_quantile(some, s), rows_needed):
            with pytest.raises(ValueError, match="between 0 and 1"):
                call(share)
        with pytest.raises(ValueError, match="between 0 and 1"):
            selective_threshold(some, some, share)
