"""What a classification says of the intervals of its scores."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import each

from ftlight.metrics import statistics
from ftlight.task import EvaluationResult
from ftlight.tasks.classification import Classification


def measured(rows_of_class: list[int]) -> EvaluationResult:
    """An evaluation of rows that are all right."""
    targets = torch.repeat_interleave(torch.tensor(rows_of_class))
    outputs = torch.eye(len(rows_of_class))[targets]
    task: Any = SimpleNamespace(kind="single", labels=list("abc"[: len(rows_of_class)]))
    return Classification.compute_metrics(task, outputs, targets, [{}] * len(targets))


def test_accuracy_and_f1_have_intervals() -> None:
    found = measured([20, 20]).intervals
    assert found["accuracy"] == found["f1"] == pytest.approx(statistics.wilson(1.0, 40))


def test_classes_with_few_rows_are_counted() -> None:
    def check(rows_of_class: list[int], notes: list[str]) -> None:
        assert list(measured(rows_of_class).notes) == notes

    line = "the interval of f1 is not to be trusted: {} of 3 classes have fewer than 10 rows"
    each(
        [
            ([10, 10, 10], []),
            ([10, 9, 10], [line.format(1)]),
            ([0, 1, 100], [line.format(2)]),
        ],
        check,
    )
