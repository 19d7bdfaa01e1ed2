"""Occlusion of pictures: how much an answer loses without each part, finer where it matters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device

from ftlight.data.files import Row
from ftlight.explain.explanation import Cell, Check, Explanation, Picture
from ftlight.explain.occlusion import DRAWS, SHARE, scored
from ftlight.metrics.evaluation import Asked
from ftlight.trainer.predictor import Predictor
from ftlight.utils.errors import UserError

GRID = 7  # parts of a side
FINER = 8  # parts that are divided into four
AT_ONCE = 16  # pictures run together


class Box(NamedTuple):
    """A part of a picture in pixels: upper and left edge, and those behind it."""

    top: int
    left: int
    bottom: int
    right: int


Support = Callable[[Sequence[Sequence[Box]]], Sequence[float]]


def parts(box: Box, most: int) -> list[Box]:
    """Divides a part into ``most`` by ``most`` of like size, or as many as it has pixels.

    >>> parts(Box(0, 0, 1, 4), 2)
    [Box(top=0, left=0, bottom=1, right=2), Box(top=0, left=2, bottom=1, right=4)]
    """
    rows = _cuts(box.top, box.bottom, most)
    columns = _cuts(box.left, box.right, most)
    found = []
    for top, bottom in itertools.pairwise(rows):
        found += [Box(top, a, bottom, b) for a, b in itertools.pairwise(columns)]
    return found


def _cuts(start: int, end: int, most: int) -> list[int]:
    count = min(most, end - start)
    return [start + round(i * (end - start) / count) for i in range(count + 1)]


def explain(predictor: Predictor, row: Row, asked: Asked, place: str) -> Explanation:
    """Explains the answer to a picture.

    Args:
        predictor: the model.
        row: the row.
        asked: the part of the answer.
        place: file of the row.

    Raises:
        UserError: the row holds no picture either.
    """
    predictor.data.set_predict([row], place)
    (batch,) = predictor.data.predict_dataloader()
    pixels = batch.get("inputs", {}).get("pixel_values")
    if pixels is None:
        raise UserError(f"{type(predictor.task).__name__}: a row holds nothing to explain")

    def scores(variants: Sequence[Sequence[Box]]) -> list[float]:
        return supports(predictor, batch, asked, variants)

    height, width = pixels.shape[-2:]
    whole, boxes, weights = weigh(parts(Box(0, 0, height, width), GRID), scores)
    unit = predictor.task.support_unit
    removed = trials(boxes, weights)
    score = scored(whole, unit)
    top, *drawn = (score - scored(value, unit) for value in scores(removed))
    check = Check(len(removed[0]), len(boxes), top, float(np.mean(drawn)))
    cells = []
    for box, weight in zip(boxes, weights, strict=True):
        edges = box.left / width, box.top / height, box.right / width, box.bottom / height
        cells.append(Cell(*edges, weight))
    picture = Picture(predictor.data.jpeg(pixels[0]), cells)
    return Explanation(asked.name, score, unit, picture=picture, check=check)


def weigh(boxes: list[Box], support: Support) -> tuple[float, list[Box], list[float]]:
    """Weighs the parts of a picture by what the support falls by without them.

    The ``FINER`` heaviest are divided into four and weighed again.

    Args:
        boxes: the parts.
        support: support of the answer without some of them.

    Returns:
        The support of the whole picture, and the parts, each with its weight.
    """
    whole, *values = support([[], *([box] for box in boxes)])
    weights = [whole - value for value in values]
    order = sorted(range(len(boxes)), key=lambda i: -weights[i])
    heavy = {i for i in order[:FINER] if weights[i] > 0}
    found = [(box, weights[i]) for i, box in enumerate(boxes) if i not in heavy]
    finer: list[Box] = []
    for i in sorted(heavy):
        finer += parts(boxes[i], 2)
    values = list(support([[box] for box in finer])) if finer else []
    found += [(box, whole - value) for box, value in zip(finer, values, strict=True)]
    return whole, [box for box, _ in found], [weight for _, weight in found]


def trials(boxes: Sequence[Box], weights: Sequence[float], seed: int = 0) -> list[list[Box]]:
    """What the check removes: a fifth of the area, first where it weighs most, then at random.

    Args:
        boxes: parts of a picture.
        weights: weight of each.
        seed: seed of the draws.
    """
    sizes = np.array([(b.bottom - b.top) * (b.right - b.left) for b in boxes], float)
    rng = np.random.default_rng(seed)
    orders = [np.argsort(-np.array(weights) / sizes, kind="stable")]
    orders += [rng.permutation(len(boxes)) for _ in range(DRAWS)]
    found = []
    for order in orders:
        before = np.cumsum(sizes[order]) - sizes[order]
        found.append([boxes[i] for i in order[before < SHARE * sizes.sum()]])
    return found


def supports(
    predictor: Predictor, batch: dict[str, Any], asked: Asked, variants: Sequence[Sequence[Box]]
) -> list[float]:
    """Support of an answer with parts of a picture in its mean colour, for each variant.

    Args:
        predictor: the model.
        batch: a batch of one picture.
        asked: the answer.
        variants: the parts.
    """
    task, precision = predictor.task, predictor.precision
    pixels = batch["inputs"]["pixel_values"]
    colour = pixels[0].mean((1, 2), keepdim=True)
    found: list[float] = []
    for start in range(0, len(variants), AT_ONCE):
        some = variants[start : start + AT_ONCE]
        changed = pixels.repeat(len(some), 1, 1, 1)
        for picture, boxes in zip(changed, some, strict=True):
            for box in boxes:
                picture[:, box.top : box.bottom, box.left : box.right] = colour
        whole = {"inputs": {"pixel_values": changed}, "index": list(range(len(some)))}
        given = precision.convert_input(move_data_to_device(whole, task.device))
        with torch.inference_mode(), precision.predict_step_context():
            found += task.support(given, [asked] * len(some)).tolist()
    return found
