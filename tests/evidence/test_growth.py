"""The learning curve of a probe, as measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import torch

from ftlight.baselines.ladder import Answer, Judged, Ladder, Material, Rung
from ftlight.data import holding
from ftlight.evidence.baselines import Frozen, grow


def test_a_curve_of_some_rows_of_train_learns_from_no_other() -> None:
    labels = list("ab" * 200)
    table, learned = datasets.Dataset.from_dict({"label": labels}), []

    def answer(given: Material) -> Answer:
        learned.append(given.train)
        return Answer(1 - len(given.train) ** -0.5, 0)

    def judge(score: Any, split: str) -> Judged:
        return Judged(torch.full((50,), score, dtype=torch.double), {})

    def classes(rows: datasets.Dataset) -> list[str]:
        return list(rows["label"])

    data: Any = SimpleNamespace(
        split_seed=0,
        load_split=lambda split: table,
        classes=classes,
        has=lambda split: False,
        drawing=lambda rows, seed: holding.nested(classes(rows), len(rows), seed),
    )
    ladder = Ladder([Rung("probe", answer, "vectors")], judge, "accuracy")
    within = np.arange(1, 400, 2)[:160]  # all of label b
    found = grow(ladder, data, "test", Frozen("", {}, None), 1.0, within)  # type: ignore[arg-type]
    assert found is not None
    assert list(found.scores) == [20, 40, 80, 160]
    assert all(set(rows) <= set(within) for rows in learned)
    assert learned[-1].tolist() == within.tolist()
    assert found.forecast is not None
    assert found.forecast.rows == 160
    assert found.forecast.twice.value < found.forecast.four_times.value
