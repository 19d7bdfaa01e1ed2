"""The rows of train that are most like given ones, by the vectors of the trained model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch.nn.functional import normalize

from ftlight.data.files import Row
from ftlight.data.module import DataModule
from ftlight.evidence.neighbours import nearest
from ftlight.evidence.vectors import Rows
from ftlight.task import Task
from ftlight.utils.errors import UserError


class Like(NamedTuple):
    """A row of train that is like another one.

    Attributes:
        number: its number in train.
        likeness: cosine of their vectors.
    """

    number: int
    likeness: float


def most_like(
    trainer: Any, task: Task, data: DataModule, rows: Sequence[Row], place: str, count: int
) -> list[list[Like]]:
    """Finds the rows of train that are most like each of some rows, the likest first.

    Args:
        trainer: a trainer of one process.
        task: the task with its trained weights.
        data: its data module, set up for training.
        rows: rows with the input columns, all of which can be read.
        place: file of the rows, for errors.
        count: rows to find of each.

    Raises:
        UserError: the model gives no vector of a row.
    """
    try:
        reader = Rows(trainer, task, data, "neighbours")
        train = normalize(reader.read("train").vectors)
        data.set_predict(rows, place)
        own = normalize(reader.read("predict").vectors)
        reader.close()
    except ValueError as error:
        raise UserError(
            f"--neighbours: {task.backbone} gives no vector of a row: {error}"
        ) from None
    found = nearest(own, train, count)
    pairs = zip(found.rows.tolist(), found.cosines.tolist(), strict=True)
    return [[Like(*like) for like in zip(*of_row, strict=True)] for of_row in pairs]
