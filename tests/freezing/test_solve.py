"""The optimum of a linear head, against scikit-learn and against its own conditions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import each
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from ftlight.freezing.linear import Head, Vectors, axes_of
from ftlight.freezing.solve import FOLDS, Solution, folds, scaled, solve
from ftlight.models.losses import Loss

EXACT: dict[str, Any] = {"tolerance": 1e-12, "scales": False}


def draw(
    rows: int, width: int, labels: int, seed: int = 0, noise: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Vectors around the mean of their class, far from 0 and of unequal spread; and the classes."""
    made = torch.Generator().manual_seed(seed)
    targets = torch.arange(rows) % labels
    means = torch.randn(labels, width, generator=made)
    spread = torch.logspace(0, -1.5, width)
    states = means[targets] + noise * torch.randn(rows, width, generator=made)
    return states * spread * 3 + 2, targets


def vectors(states: Tensor, targets: Tensor) -> Vectors:
    return Vectors(torch.arange(len(states)), states, targets)


def zero(labels: int, width: int, bias: bool = True) -> Head:
    return Head(torch.zeros(labels, width), torch.zeros(labels) if bias else None)


def unit(states: Tensor, penalty: float, bias: bool = True) -> float:
    """The penalty on vectors as they are that is one on vectors with a mean square of 1."""
    mean = states.double().mean(0) if bias else 0
    return float(penalty * (states.double() - mean).square().sum(1).mean())


def test_one_label_is_scikit_learns() -> None:
    def check(rows: int, width: int, labels: int, penalty: float, bias: bool) -> None:
        states, targets = draw(rows, width, labels)
        train = vectors(states, targets)
        start = zero(labels, width, bias)
        found = solve(train, Loss("single"), start, train, penalties=[penalty], **EXACT).head
        strength = 1 / (unit(states, penalty, bias) * rows)
        oracle = LogisticRegression(C=strength, fit_intercept=bias, tol=1e-7, max_iter=5000)
        oracle.fit(states.double().numpy(), targets.numpy())
        want, got = oracle.coef_, found.weight.double().numpy()
        if labels == 2:  # scikit-learn has one weight for two labels
            want, got = oracle.coef_[0], got[1] - got[0]
            oracle = LogisticRegression(
                C=2 * strength, fit_intercept=bias, tol=1e-7, max_iter=5000
            ).fit(states.double().numpy(), targets.numpy())
            want = oracle.coef_[0]
        assert np.abs(want - got).max() <= 2e-3 * np.abs(want).max()

    each(
        [
            (90, 5, 3, 1.0, True),
            (90, 5, 2, 1e-2, True),
            (90, 40, 6, 1e-2, True),
            (90, 5, 3, 1e-3, False),
            (20, 60, 4, 1e-2, True),  # fewer rows than directions
        ],
        check,
    )


def test_several_labels_and_numbers_are_scikit_learns() -> None:
    states, targets = draw(120, 12, 3)
    several = torch.stack([targets == 0, targets != 1, states[:, 0] > 2], 1).float()
    train = vectors(states, several)
    found = solve(train, Loss("multi"), zero(3, 12), train, penalties=[1e-3], **EXACT).head
    for label in range(3):
        # the mean over labels too
        strength = 1 / (unit(states, 1e-3) * 120 * 3)
        oracle = LogisticRegression(C=strength, tol=1e-7, max_iter=5000)
        oracle.fit(states.double().numpy(), several[:, label].numpy())
        want, got = oracle.coef_[0], found.weight[label].double().numpy()
        assert np.abs(want - got).max() <= 2e-3 * np.abs(want).max()
        assert found.bias is not None
        assert float(found.bias[label]) == pytest.approx(oracle.intercept_[0], rel=5e-3, abs=5e-3)
    values = states @ torch.linspace(-1, 1, 12) + 0.1 * states[:, 3].square()
    train = vectors(states, values)
    found = solve(train, Loss("regression"), zero(1, 12), train, penalties=[1e-2], **EXACT).head
    ridge = Ridge(alpha=unit(states, 1e-2) * 120 / 2).fit(states.double(), values.double())
    assert np.allclose(ridge.coef_, found.weight[0].double(), rtol=1e-3, atol=1e-4)
    assert found.bias is not None
    assert float(found.bias) == pytest.approx(float(ridge.intercept_), rel=1e-3)


def test_class_weights_are_scikit_learns() -> None:
    states, targets = draw(90, 8, 3)
    targets = torch.where(targets == 2, targets, torch.where(torch.arange(90) % 7 == 0, 1, 0))
    counts = torch.bincount(targets)
    weights = 90 / (3 * counts)
    train = vectors(states, targets)
    loss = Loss("single", weights)
    found = solve(train, loss, zero(3, 8), train, penalties=[1e-3], **EXACT).head
    oracle = LogisticRegression(
        C=1 / (unit(states, 1e-3) * 90), class_weight="balanced", tol=1e-7, max_iter=5000
    ).fit(states.double().numpy(), targets.numpy())
    assert (
        np.abs(oracle.coef_ - found.weight.double().numpy()).max()
        <= 2e-3 * np.abs(oracle.coef_).max()
    )


def test_the_slope_at_the_optimum_is_0_pulled_from_any_start_with_any_loss() -> None:
    states, targets = draw(60, 10, 3)
    several = torch.nn.functional.one_hot(targets, 3).float()
    made = torch.Generator().manual_seed(1)
    starts = [zero(3, 10), Head(torch.randn(3, 10, generator=made), torch.ones(3))]
    weights = torch.tensor([1.0, 2.0, 0.5])

    def check(kind: str, smoothing: float, weighted: bool, start: Head) -> None:
        loss = Loss(kind, weights if weighted else None, smoothing)  # type: ignore[arg-type]
        train = vectors(states, targets if kind == "single" else several)
        found = solve(train, loss, start, train, penalties=[1e-2], **EXACT).head
        weight, bias = (p.double().requires_grad_() for p in (found.weight, found.bias))  # type: ignore[union-attr]
        size = unit(states, 1e-2) / 2 * (weight - start.weight).square().sum()
        outputs = states.double() @ weight.T + bias
        value = loss.of(outputs, train.targets) + size
        slopes = torch.autograd.grad(value, (weight, bias))
        assert max(float(s.abs().max()) for s in slopes) < 2e-4

    each(
        [
            ("single", 0.2, True, starts[1]),
            ("multi", 0.2, True, starts[1]),
            ("single", 0.0, False, starts[0]),
        ],
        check,
    )


def test_a_strong_penalty_keeps_the_start_and_a_good_start_helps_few_rows() -> None:
    made = torch.Generator().manual_seed(0)
    states, start = torch.randn(1030, 40, generator=made), torch.randn(3, 40, generator=made) / 4
    targets = (states @ start.T + 0.3 * torch.randn(1030, 3, generator=made)).argmax(1)
    train = vectors(states[:30], targets[:30])
    pulled = Head(start, torch.zeros(3))
    held = solve(train, Loss("single"), pulled, train, penalties=[1e6], scales=False).head
    assert torch.allclose(held.weight, start, atol=1e-4)

    def right(begin: Head) -> float:
        outputs = torch.nn.functional.linear(states[30:], *solve(train, Loss("single"), begin).head)
        return float((outputs.argmax(1) == targets[30:]).float().mean())

    assert right(pulled) > right(zero(3, 40)) + 0.1


def test_the_penalty_is_that_of_the_path_which_rows_held_out_like_best() -> None:
    def check(noise: float) -> None:
        states, targets = draw(200, 30, 4, noise=noise)
        train, held = vectors(states[:100], targets[:100]), vectors(states[100:], targets[100:])
        found = solve(train, Loss("single"), zero(4, 30), held)
        assert found.folds == 0
        assert found.losses[found.penalty] == min(found.losses.values())
        outputs = torch.nn.functional.linear(held.states, *found.head)
        plain = float(Loss("single").of(outputs, held.targets))
        assert plain == pytest.approx(found.losses[found.penalty], abs=0.05)
        ends = [solve(train, Loss("single"), zero(4, 30), held, penalties=[p]) for p in (10, 1e-6)]
        assert found.losses[found.penalty] <= min(e.losses[e.penalty] for e in ends) + 1e-2

    each([(0.5,), (3.0,)], check)
    easy, hard = (
        solve(vectors(*draw(200, 30, 4, noise=n)), Loss("single"), zero(4, 30)).penalty
        for n in (0.5, 6.0)
    )
    assert easy < hard


def test_shy_outputs_are_scaled_and_right_ones_not_without_end() -> None:
    states, targets = draw(300, 10, 3, noise=2.0)
    loss, train = Loss("single"), vectors(states, targets)
    shy = solve(train, loss, zero(3, 10), train, penalties=[10.0], scales=False).head
    outputs = torch.nn.functional.linear(states, *shy)
    best = scaled(outputs, targets, loss)
    assert best.factor > 5
    again = scaled(outputs * best.factor, targets, loss)
    assert again.factor == pytest.approx(1, abs=0.1)
    losses = [float(loss.of(outputs * best.factor * f, targets)) for f in (0.7, 1.0, 1.4)]
    assert min(losses) == losses[1]
    right = torch.nn.functional.one_hot(targets, 3).float()
    assert scaled(right, targets, loss).factor < 50
    assert scaled(right, targets, loss, scales=False).factor == 1


def test_folds_have_all_classes_and_keep_the_vectors_of_a_row_together() -> None:
    targets = torch.arange(50) % 5
    parts = folds(vectors(torch.zeros(50, 1), targets), seed=0, by_class=True)
    for part in range(FOLDS):
        assert torch.bincount(targets[parts == part]).tolist() == [2] * 5
    assert not torch.equal(parts, folds(vectors(torch.zeros(50, 1), targets), 1, by_class=True))
    rows = torch.arange(60) // 4
    parts = folds(Vectors(rows, torch.zeros(60, 1), torch.zeros(60).long()), 0, by_class=True)
    assert all(len(parts[rows == row].unique()) == 1 for row in range(15))
    assert sorted(parts.unique().tolist()) == list(range(FOLDS))


def test_the_same_vectors_give_the_same_bits() -> None:
    states, targets = draw(150, 20, 4)

    def once() -> Solution:
        return solve(vectors(states, targets), Loss("single"), zero(4, 20), seed=3)

    assert torch.equal(once().head.weight, once().head.weight)


def test_what_cannot_be_solved_is_said() -> None:
    one = vectors(torch.ones(1, 3), torch.zeros(1).long())
    with pytest.raises(ValueError, match="a single row cannot be divided"):
        solve(one, Loss("single"), zero(2, 3))
    broken = vectors(torch.tensor([[1.0, float("nan")], [0.0, 1.0]]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="not finite"):
        solve(broken, Loss("single"), zero(2, 2))


def test_axes_of_vectors_that_are_all_alike_or_flat() -> None:
    alike = vectors(torch.ones(10, 3), torch.arange(10) % 2)
    found = solve(alike, Loss("single"), zero(2, 3))
    assert bool(found.head.weight.isfinite().all())
    flat = torch.cat([torch.randn(30, 2), torch.zeros(30, 2)], 1)
    axes = axes_of(flat, centred=True)
    assert axes.turn.shape == (4, 2)


def test_a_penalty_that_is_good_by_chance_does_not_end_the_path() -> None:
    """Of rows barely more than their classes a tenth of the heads was right in 1 % of new rows."""
    classes, width = 77, 384
    scale = torch.arange(1, width + 1) ** -0.3
    start = Head(torch.zeros(classes, width), torch.zeros(classes))

    def check(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        centres = torch.randn(classes, width, generator=generator) * scale

        def rows(targets: Tensor) -> Vectors:
            noise = torch.randn(len(targets), width, generator=generator) * scale
            return Vectors(torch.arange(len(targets)), centres[targets] + 1.5 * noise, targets)

        others = torch.randint(classes, (110 - classes,), generator=generator)
        train = rows(torch.cat([torch.arange(classes), others]))
        held_out, test = (rows(torch.arange(400) % classes) for _ in range(2))
        head = solve(train, Loss("single"), start, held_out).head
        outputs = torch.nn.functional.linear(test.states, head.weight, head.bias)
        assert (outputs.argmax(1) == test.targets).float().mean() > 0.8

    each([0, 3, 9, 18], check)
