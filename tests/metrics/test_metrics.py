from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import each
from scipy import stats
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from ftlight.metrics import classes as metrics
from ftlight.metrics import regression
from ftlight.metrics.collected import Collected

SEEDS = range(3)


def close(value: float, other: float, tolerance: float = 1e-9) -> bool:
    if math.isnan(value) and math.isnan(other):
        return True
    return math.isclose(value, other, rel_tol=tolerance, abs_tol=tolerance)


def predictions(rows: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities that lean to the target, and the targets, all classes among them."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.cat(
        [torch.arange(classes), torch.randint(classes, (rows - classes,), generator=generator)]
    )
    logits = torch.randn(
        rows, classes, generator=generator, dtype=torch.double
    ) + 1.2 * torch.nn.functional.one_hot(target, classes)
    return logits.softmax(1), target


def check_single(probabilities: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """All that scikit-learn measures too."""
    values, matrix = metrics.single_label(probabilities, target)
    classes = list(range(probabilities.shape[1]))
    y, p = target.numpy(), probabilities.argmax(1).numpy()
    options = {"labels": classes, "zero_division": 0}
    expected = {
        "accuracy": sk.accuracy_score(y, p),
        "f1": sk.f1_score(y, p, average="macro", **options),
        "f1_micro": sk.f1_score(y, p, average="micro", **options),
        "f1_weighted": sk.f1_score(y, p, average="weighted", **options),
        "precision": sk.precision_score(y, p, average="macro", **options),
        "recall": sk.recall_score(y, p, average="macro", **options),
        "mcc": sk.matthews_corrcoef(y, p),
    }
    for name, value in expected.items():
        assert close(values[name], float(value)), name
    assert matrix.tolist() == sk.confusion_matrix(y, p, labels=classes).tolist()
    return values


# One label


def test_single_label() -> None:
    def check(seed: int, rows: int, classes: int) -> None:
        probabilities, target = predictions(rows, classes, seed)
        values = check_single(probabilities, target)
        if classes == 2:
            expected = sk.roc_auc_score(target, probabilities[:, 1])
        else:
            expected = sk.roc_auc_score(
                target, probabilities, multi_class="ovr", average="macro", labels=range(classes)
            )
        assert close(values["auroc"], expected)

    each(
        [
            (seed, rows, classes)
            for seed in SEEDS
            for rows, classes in [(2, 2), (30, 2), (60, 3), (200, 7), (300, 40)]
        ],
        check,
    )


def test_classes_absent_from_the_targets_count() -> None:
    def check(seed: int) -> None:
        probabilities, target = predictions(80, 6, seed)
        present = (target != 2) & (target != 5)
        values = check_single(probabilities[present], target[present])
        assert math.isnan(values["auroc"])

    each(SEEDS, check)


def test_classes_absent_from_the_predictions_count() -> None:
    def check(seed: int) -> None:
        probabilities, target = predictions(80, 5, seed)
        probabilities[:, [1, 4]] /= 1000
        probabilities /= probabilities.sum(1, keepdim=True)
        assert not set(probabilities.argmax(1).tolist()) & {1, 4}
        values = check_single(probabilities, target)
        assert close(
            values["auroc"],
            sk.roc_auc_score(target, probabilities, multi_class="ovr", average="macro"),
        )

    each(SEEDS, check)


def test_classes_absent_from_both_count() -> None:
    probabilities, target = predictions(50, 5, 0)
    probabilities[:, 3] = 0
    probabilities /= probabilities.sum(1, keepdim=True)
    values = check_single(probabilities[target != 3], target[target != 3])
    only_there = sk.f1_score(
        target[target != 3], probabilities[target != 3].argmax(1), average="macro"
    )
    assert values["f1"] == pytest.approx(only_there * 4 / 5)


def test_one_class_in_the_targets() -> None:
    def check(classes: int) -> None:
        probabilities, _ = predictions(40, classes, 1)
        values = check_single(probabilities, torch.zeros(40, dtype=torch.long))
        assert values["mcc"] == 0
        assert math.isnan(values["auroc"])

    each([2, 3], check)


@pytest.mark.filterwarnings("ignore:A single label was found")
def test_one_class_in_targets_and_predictions() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
    values = check_single(probabilities, torch.tensor([0, 0]))
    assert (values["accuracy"], values["f1"], values["mcc"]) == (1.0, 0.5, 0.0)


def test_all_right_and_all_wrong() -> None:
    right = torch.eye(3, dtype=torch.double)[[0, 1, 2, 0]] * 0.98 + 0.01
    values = check_single(right, torch.tensor([0, 1, 2, 0]))
    assert {
        values[k] for k in ("accuracy", "f1", "f1_micro", "precision", "recall", "mcc", "auroc")
    } == {1.0}
    values = check_single(right, torch.tensor([1, 2, 0, 2]))
    assert {values[k] for k in ("accuracy", "f1", "f1_micro", "precision", "recall")} == {0.0}


def test_scores_of_many_rows_keep_their_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(3, (100_000,), generator=generator)
    probabilities = (
        torch.randn(100_000, 3, generator=generator) + torch.nn.functional.one_hot(target, 3)
    ).softmax(1)
    values, _ = metrics.single_label(probabilities, target)
    assert close(values["mcc"], sk.matthews_corrcoef(target, probabilities.argmax(1)))
    assert close(
        values["auroc"], sk.roc_auc_score(target, probabilities.double(), multi_class="ovr")
    )


def test_averages_are_those_of_torchmetrics_per_class() -> None:
    """To its float32: the reason that the metrics are not torchmetrics' own."""

    def check(seed: int) -> None:
        probabilities, target = predictions(80, 6, seed)
        present = (target != 2) & (target != 5)
        probabilities, target = probabilities[present], target[present]
        predicted = probabilities.argmax(1)
        per_class = {
            "f1": tm.multiclass_f1_score(predicted, target, 6, average=None),
            "precision": tm.multiclass_precision(predicted, target, 6, average=None),
            "recall": tm.multiclass_recall(predicted, target, 6, average=None),
            "mcc": tm.multiclass_matthews_corrcoef(predicted, target, 6),
            "calibration_error": tm.multiclass_calibration_error(probabilities, target, 6),
            "accuracy": tm.multiclass_accuracy(predicted, target, 6, average="micro"),
        }
        values, _ = metrics.single_label(probabilities, target)
        for name, value in per_class.items():
            assert value.dtype == torch.float32
            assert close(values[name], value.double().mean().item(), 2e-7), name

    each(SEEDS, check)


# AUROC


def test_auroc_with_ties() -> None:
    def check(seed: int, digits: int) -> None:
        rng = np.random.default_rng(seed)
        scores, positive = rng.normal(size=120).round(digits), rng.random(120) < 0.3
        assert close(
            metrics.auroc(torch.from_numpy(scores), torch.from_numpy(positive)),
            float(sk.roc_auc_score(positive, scores)),
        )

    each([(seed, digits) for seed in SEEDS for digits in [0, 1, 2, 9]], check)


def test_auroc_of_one_score() -> None:
    assert metrics.auroc(torch.full((9,), 0.5), torch.arange(9) % 2 == 0) == 0.5


def test_auroc_without_one_of_the_classes() -> None:
    def check(positive: list[bool]) -> None:
        assert math.isnan(
            metrics.auroc(
                torch.arange(len(positive)).double(), torch.tensor(positive, dtype=torch.bool)
            )
        )

    each([[True] * 3, [False] * 3, []], check)


def test_macro_auroc() -> None:
    def check(seed: int) -> None:
        probabilities, target = predictions(90, 4, seed)
        rounded = (probabilities * 10).round() / 10  # with ties
        members = torch.nn.functional.one_hot(target, 4).bool()
        assert close(
            metrics.macro_auroc(rounded, members),
            float(sk.roc_auc_score(members, rounded, average="macro")),
        )
        members[:, 2] = False
        assert math.isnan(metrics.macro_auroc(rounded, members))

    each(SEEDS, check)


# Several labels


def test_multi_label() -> None:
    def check(seed: int, rows: int, names: int) -> None:
        rng = np.random.default_rng([seed, rows])
        target = rng.random((rows, names)) < 0.3
        target[0], target[1] = True, False
        probabilities = 1 / (1 + np.exp(-rng.normal(size=(rows, names)) - 2 * target + 1))
        predicted = probabilities >= 0.5
        values = metrics.multi_label(
            torch.from_numpy(probabilities), torch.from_numpy(target).float()
        )
        y, p = (target[:, 0], predicted[:, 0]) if names == 1 else (target, predicted)
        how = dict.fromkeys(("macro", "micro", "weighted"))
        f1 = {
            a: sk.f1_score(
                y, p, average=a, zero_division=0, **({"labels": [1]} if names == 1 else {})
            )
            for a in how
        }
        assert close(values["f1"], float(f1["macro"]))
        assert close(values["f1_micro"], float(f1["micro"]))
        assert close(values["f1_weighted"], float(f1["weighted"]))
        assert close(values["accuracy"], float(sk.accuracy_score(y, p)))
        assert close(
            values["auroc"], float(sk.roc_auc_score(target, probabilities, average="macro"))
        )
        if names > 1:
            assert close(
                values["precision"],
                float(sk.precision_score(y, p, average="macro", zero_division=0)),
            )
            assert close(
                values["recall"], float(sk.recall_score(y, p, average="macro", zero_division=0))
            )

    each(
        [(seed, rows, names) for seed in SEEDS for rows, names in [(20, 1), (40, 3), (150, 12)]],
        check,
    )


def test_multi_label_with_labels_absent_from_targets_and_predictions() -> None:
    target = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]])
    probabilities = torch.tensor([[0.9, 0.4, 0.1, 0.7], [0.8, 0.6, 0.2, 0.1], [0.5, 0.1, 0.3, 0.2]])
    values = metrics.multi_label(probabilities, target)
    predicted = (probabilities >= 0.5).int()
    assert predicted[2, 0] == 1  # 0.5 is predicted
    assert close(
        values["f1"], float(sk.f1_score(target, predicted, average="macro", zero_division=0))
    )
    assert close(
        values["f1_weighted"],
        float(sk.f1_score(target, predicted, average="weighted", zero_division=0)),
    )
    assert math.isnan(values["auroc"])


def test_multi_label_without_any_label() -> None:
    values = metrics.multi_label(torch.full((4, 2), 0.1), torch.zeros(4, 2))
    assert (values["f1"], values["f1_micro"], values["f1_weighted"], values["accuracy"]) == (
        0,
        0,
        0,
        1,
    )
    assert values["calibration_error"] == pytest.approx(0.1)


# Regression


def test_regression() -> None:
    def check(seed: int, digits: int, rows: int) -> None:
        rng = np.random.default_rng([seed, rows])
        target = (3 * rng.normal(size=rows)).round(digits)
        values = (target + rng.normal(size=rows)).round(digits)
        found = regression.scores(torch.from_numpy(values), torch.from_numpy(target))
        assert close(found["pearson"], stats.pearsonr(values, target).statistic, 1e-6)
        assert close(found["spearman"], stats.spearmanr(values, target).statistic, 1e-6)
        assert close(found["mae"], float(sk.mean_absolute_error(target, values)))
        assert close(found["rmse"], float(sk.root_mean_squared_error(target, values)))

    each(
        [(seed, digits, rows) for seed in SEEDS for digits in [0, 1, 9] for rows in [5, 60, 500]],
        check,
    )


def test_regression_of_floats() -> None:
    def check(offset: float) -> None:
        rng = np.random.default_rng(0)
        target = torch.from_numpy(rng.normal(size=100) + offset)
        values = (target + torch.from_numpy(rng.normal(size=100))).float()
        found = regression.scores(values, target)
        assert close(found["pearson"], stats.pearsonr(values.double(), target).statistic, 1e-6)
        assert close(found["rmse"], float((values.double() - target).square().mean().sqrt()))

    each([0.0, 1e4], check)


def test_correlation_with_a_constant_is_undefined() -> None:
    def check(constant: float, rows: int) -> None:
        varied = torch.arange(rows).double()
        fixed = torch.full((rows,), constant, dtype=torch.double)
        for values, target in ((varied, fixed), (fixed, varied), (fixed, fixed)):
            found = regression.scores(values, target)
            assert math.isnan(found["pearson"])
            assert math.isnan(found["spearman"])
            assert found["mae"] == pytest.approx((values - target).abs().mean().item())

    each(
        [
            (constant, rows)
            for constant in [0.0, 0.1, 1 / 3, -7.7, 1e6 + 0.1]
            for rows in [2, 3, 7, 100]
        ],
        check,
    )


def test_regression_of_one_row() -> None:
    found = regression.scores(torch.tensor([1.0]), torch.tensor([3.0]))
    assert math.isnan(found["pearson"])
    assert (found["mae"], found["rmse"]) == (2, 2)


def test_perfect_correlation() -> None:
    def check(sign: int) -> None:
        target = torch.arange(20).double()
        found = regression.scores(sign * target**3, target)
        assert found["spearman"] == pytest.approx(sign, abs=1e-6)
        assert abs(found["pearson"]) <= 1

    each([1, -1], check)


# Calibration


def test_calibration_error() -> None:
    def check(bins: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        confidence = np.concatenate([rng.uniform(0.3, 1, 200), [1.0, 0.0]])
        right = rng.random(202) < confidence**2
        expected = 0.0
        for b in range(bins):
            inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
            if b == 0:
                inside |= confidence == 0
            if inside.any():
                expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
        assert close(
            metrics.calibration_error(torch.from_numpy(confidence), torch.from_numpy(right), bins),
            expected,
        )

    each([(bins, seed) for bins in [1, 10, 15] for seed in SEEDS], check)


def test_calibration_error_of_known_cases() -> None:
    assert metrics.calibration_error(torch.ones(5), torch.ones(5, dtype=torch.bool)) == 0
    assert metrics.calibration_error(torch.ones(5), torch.zeros(5, dtype=torch.bool)) == 1
    confidence = torch.full((10,), 0.8, dtype=torch.double)
    assert metrics.calibration_error(confidence, torch.arange(10) < 8) == pytest.approx(0)
    assert metrics.calibration_error(confidence, torch.arange(10) < 5) == pytest.approx(0.3)


def test_calibration_error_of_scores() -> None:
    probabilities, target = predictions(100, 3, 0)
    confidence, predicted = probabilities.max(1)
    expected = metrics.calibration_error(confidence, predicted == target)
    assert metrics.single_label(probabilities, target)[0]["calibration_error"] == expected > 0


# Gathering


def test_collected_gives_rows_in_order() -> None:
    def check(batch_size: int) -> None:
        outputs = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
        targets = torch.arange(10) * 2
        order = np.random.default_rng(0).permutation(10)
        collected = Collected()
        for start in range(0, 10, batch_size):
            rows = order[start : start + batch_size].tolist()
            collected.update(outputs[rows].bfloat16().float().requires_grad_(), targets[rows], rows)
        found_outputs, found_targets, found_rows, _ = collected.compute()
        assert found_rows.tolist() == list(range(10))
        assert torch.equal(found_outputs, outputs.bfloat16().float())
        assert torch.equal(found_targets, targets)
        assert found_outputs.dtype == torch.float32
        assert not found_outputs.requires_grad

    each([1, 3, 10], check)


def test_collected_makes_floats_of_halves() -> None:
    collected = Collected()
    collected.update(torch.ones(2, 1, dtype=torch.bfloat16), torch.zeros(2), [1, 0])
    assert next(iter(collected.compute())).dtype == torch.float32


def test_collected_refuses_repeated_rows() -> None:
    def check(rows: list[int]) -> None:
        collected = Collected()
        collected.update(torch.zeros(2, 1), torch.zeros(2), rows[:2])
        collected.update(torch.zeros(1, 1), torch.zeros(1), rows[2:])
        with pytest.raises(RuntimeError, match="an evaluation repeated rows"):
            collected.compute()

    each([[0, 1, 1], [2, 1, 2], [0, 0, 0]], check)


def test_collected_keeps_rows_that_differ_in_length() -> None:
    parts = [torch.arange(n, dtype=torch.float)[:, None] + 10 * n for n in (2, 0, 3, 1)]
    collected = Collected()
    for rows in ([2, 0], [3, 1]):
        collected.update([parts[i] for i in rows], None, rows)
    outputs, targets, rows, _ = collected.compute()
    assert [o.tolist() for o in outputs] == [p.tolist() for p in parts]
    assert targets is None
    assert rows.tolist() == [0, 1, 2, 3]


def test_collected_keeps_the_axes_of_a_single_row() -> None:
    collected = Collected()
    collected.update(torch.ones(1, 1), torch.ones(1), [0])
    outputs, targets, _, _ = collected.compute()
    assert outputs.shape == (1, 1)
    assert targets.shape == (1,)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_collected_refuses_nothing() -> None:
    with pytest.raises(RuntimeError, match="saw no rows"):
        Collected().compute()


def test_in_top_agrees_with_scikit_learn() -> None:
    probabilities, target = predictions(200, 8, 0)
    assert close(
        metrics.in_top(probabilities, target, 5),
        sk.top_k_accuracy_score(target, probabilities, k=5),
    )
    assert "accuracy_top5" in metrics.single_label(probabilities, target)[0]


def test_collected_starts_again() -> None:
    collected = Collected()
    for value in (1.0, 2.0):
        collected.update(torch.full((2, 1), value), torch.zeros(2), [0, 1])
        assert next(iter(collected.compute())).tolist() == [[value], [value]]
        collected.reset()


def test_undefined_probabilities_are_in_no_top() -> None:
    assert metrics.in_top(torch.full((3, 8), float("nan")), torch.tensor([0, 1, 2]), 5) == 0
