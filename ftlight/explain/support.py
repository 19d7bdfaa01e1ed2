"""How strongly a model holds to given answers, of rows as they are changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device

from ftlight.data.files import Row
from ftlight.metrics.evaluation import Asked
from ftlight.trainer.predictor import Predictor

Batch = dict[str, Any]


def supports(predictor: Predictor, rows: Sequence[Row], asked: Sequence[Asked]) -> list[float]:
    """The support of an answer in each row, as :meth:`ftlight.task.Task.support` has it.

    Args:
        predictor: the model.
        rows: rows with the input columns, in any number and order.
        asked: the answer that is measured in each row.

    Returns:
        The support of each row, in order; nan of a row that cannot be read.

    Raises:
        UserError: an input column is missing, or no row can be read.
    """
    found = [math.nan] * len(rows)
    with torch.inference_mode():
        for batch, numbers in batches(predictor, rows):
            with predictor.precision.predict_step_context():
                values = predictor.task.support(batch, [asked[number] for number in numbers])
            for number, value in zip(numbers, values.tolist(), strict=True):
                found[number] = value
    return found


def batches(predictor: Predictor, rows: Sequence[Row]) -> Iterator[tuple[Batch, list[int]]]:
    """Batches of rows on the device of the model, and the numbers of the rows in each.

    Rows that cannot be read are in none.

    Args:
        predictor: the model.
        rows: rows with the input columns.

    Raises:
        UserError: an input column is missing, or no row can be read.
    """
    if not rows:
        return
    faults = predictor.data.set_predict(rows)
    kept = [number for number in range(len(rows)) if number not in faults]
    for batch in predictor.data.predict_dataloader():
        moved = move_data_to_device(batch, predictor.task.device)
        yield predictor.precision.convert_input(moved), [kept[i] for i in batch["index"]]
