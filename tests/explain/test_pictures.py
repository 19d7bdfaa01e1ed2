"""Parts of pictures are weighed, the heavy ones finer, and drawn over what the model sees."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny.image_classification import make_resnet, square

import ftlight
from ftlight import Predictor
from ftlight.explain.pictures import Box, parts, trials, weigh
from ftlight.explain.rows import explain


def test_the_part_that_decides_is_found_and_divided() -> None:
    target = Box(8, 8, 12, 12)

    def overlap(box: Box) -> int:
        rows = min(box.bottom, target.bottom) - max(box.top, target.top)
        columns = min(box.right, target.right) - max(box.left, target.left)
        return max(rows, 0) * max(columns, 0)

    whole, boxes, weights = weigh(
        parts(Box(0, 0, 28, 28), 7), lambda sets: [-float(sum(map(overlap, s))) for s in sets]
    )
    assert whole == 0
    area = [(b.bottom - b.top) * (b.right - b.left) for b in boxes]
    assert sum(area) == 28 * 28
    assert sum(weights) == 16
    heavy = [box for box, weight in zip(boxes, weights, strict=True) if weight > 0]
    assert sorted(heavy) == parts(target, 2)


def test_the_check_removes_a_fifth_of_the_area() -> None:
    boxes = [*parts(Box(0, 0, 10, 10), 2), *parts(Box(0, 10, 10, 20), 10)]
    weights = [5.0, 0, 0, 0, *np.linspace(0, 1, 100)]
    heaviest, *drawn = trials(boxes, weights)
    assert boxes[103] in heaviest  # by weight a pixel: 1 of one, 5 of 25
    for chosen in (heaviest, *drawn):
        area = sum((b.bottom - b.top) * (b.right - b.left) for b in chosen)
        assert 40 <= area < 40 + 25


def test_a_picture_is_explained_as_the_model_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "square.jpg"
    path.write_bytes(square(1)[1])
    backbone = make_resnet(tmp_path / "resnet")
    torch.manual_seed(0)
    task = ftlight.ImageClassification(backbone, labels=["blue", "green", "red"])
    model = Predictor(task, ftlight.ImageData(tokenizer=backbone, labels=task.labels))
    (found,) = explain(model, [{"image": str(path)}])
    (why,) = found.why
    assert why.answer == found.answer["prediction"]
    assert why.score == pytest.approx(found.answer["score"], rel=1e-4)
    assert why.picture is not None
    shown = Image.open(io.BytesIO(why.picture.jpeg))
    seen = next(iter(model.data.predict_dataloader()))["inputs"]["pixel_values"]
    assert shown.size == tuple(seen.shape[:1:-1])
    area = sum((c.right - c.left) * (c.bottom - c.top) for c in why.picture.cells)
    assert area == pytest.approx(1)
    assert why.check is not None
    assert why.sides == ()
