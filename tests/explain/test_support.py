"""Changed rows in, support of the same answers out: in order, whatever the batches are."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conftest import WORDS
from tiny.image_classification import make_resnet, square

import ftlight
from ftlight import Predictor
from ftlight.explain.support import batches, supports
from ftlight.metrics.evaluation import Asked
from ftlight.utils.errors import UserError


@pytest.fixture
def model(bert: str) -> Predictor:
    task = ftlight.TextClassification(bert, labels=["good", "bad", "late"])
    return Predictor(task, ftlight.TextData(tokenizer=bert, labels=task.labels, batch_size=3))


def test_support_keeps_the_order_of_rows_over_several_batches(model: Predictor) -> None:
    rows = [{"text": " ".join(WORDS[: 1 + 5 * i % 7])} for i in range(8)]
    asked = [Asked("", i % 3) for i in range(8)]
    one_by_one = [supports(model, [r], [a])[0] for r, a in zip(rows, asked, strict=True)]
    assert supports(model, rows, asked) == pytest.approx(one_by_one, abs=1e-6)
    assert len(set(one_by_one)) == 8
    assert len(list(batches(model, rows))) == 3
    assert supports(model, [], []) == []


def test_a_row_that_lacks_a_column_is_refused(model: Predictor) -> None:
    with pytest.raises(UserError, match="no column text"):
        supports(model, [{"body": "a card"}], [Asked("", 0)])


def test_a_row_that_cannot_be_read_is_nan(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jpg", tmp_path / "cut.jpg"
    whole.write_bytes(square(1)[1])
    cut.write_bytes(square(1)[1][:90])
    backbone = make_resnet(tmp_path / "resnet")
    torch.manual_seed(0)
    task = ftlight.ImageClassification(backbone, labels=["blue", "green", "red"])
    model = Predictor(task, ftlight.ImageData(tokenizer=backbone, labels=task.labels))
    rows = [{"image": str(path)} for path in (whole, cut, whole)]
    assert model.data.texts_of(rows[0]) == {}
    asked = task.asked(model.predict(rows[:1])[0])
    first, second, third = supports(model, rows, [asked[0], asked[0], Asked("", 0)])
    assert math.isnan(second)
    probabilities = model.predict(rows[:1])[0]["probabilities"]
    assert math.exp(first) == pytest.approx(max(probabilities.values()), rel=1e-5)
    assert math.exp(third) == pytest.approx(probabilities["blue"], rel=1e-5)
