"""Measures the cheap models of a task on a split: how good each row is, and what that took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ftlight.baselines.ladder import PROMPTS, Ladder, Material, Rung, judged
from ftlight.data.files import LINE
from ftlight.data.module import DataModule
from ftlight.evidence.vectors import Rows
from ftlight.freezing import identity
from ftlight.metrics import learning_curve
from ftlight.metrics.evaluation import Evaluation
from ftlight.metrics.learning_curve import Forecast
from ftlight.models.modes import evaluating
from ftlight.task import Task
from ftlight.utils.errors import UserError
from ftlight.utils.spent import Meter, Spent

DRAWS = 3  # draws of rows at each size of a learning curve, but the last
LEAST = 20  # rows that a learning curve begins with


class Measured(NamedTuple):
    """A model, measured.

    Attributes:
        name: its name.
        rows: rows that it learned; None if it learns from none.
        scores: how good it is on each row, ``float64 [rows]``.
        values: metrics by name.
        weights: numbers that it learned; None if that is not known.
        spent: what it took; None if that is not known.
    """

    name: str
    rows: int | None
    scores: np.ndarray
    values: Mapping[str, float]
    weights: int | None
    spent: Spent | None


class Frozen(NamedTuple):
    """The vectors of rows from a frozen backbone.

    Attributes:
        backbone: its name.
        vectors: by split, and of a ladder's own texts.
        spent: what the pass took.
    """

    backbone: str
    vectors: Mapping[str, Tensor]
    spent: Spent


def held_out(data: DataModule, split: str) -> str | None:
    """The split that settings are chosen on; None if that is the one measured."""
    return "validation" if split != "validation" and data.has("validation") else None


def read(trainer: Any, task: Task, data: DataModule, ladder: Ladder, split: str) -> Frozen:
    """Reads the vectors of all rows, in one pass of the frozen backbone.

    Args:
        trainer: a trainer of one process.
        task: the task, with the pre-trained weights.
        data: its data module, set up for training.
        ladder: the cheap models.
        split: the split that is measured.

    Raises:
        UserError: the backbone gives no vector of a row.
    """
    meter, splits = Meter(), dict.fromkeys(["train", split])
    if held_out(data, split):
        splits["validation"] = None
    try:
        rows = Rows(trainer, task, data)
        vectors = {name: rows.read(name).vectors for name in splits}
        if ladder.prompts:
            first, *others = data.columns
            empty = dict.fromkeys(others, "")
            texts = enumerate(ladder.prompts, 1)
            data.set_predict([{first: text, **empty, LINE: line} for line, text in texts])
            vectors[PROMPTS] = rows.read("predict").vectors
        rows.close()
    except ValueError as error:
        raise UserError(f"{task.backbone} gives no vector of a row: {error}") from None
    return Frozen(task.backbone, vectors, meter.read())


def measure_all(
    ladder: Ladder,
    data: DataModule,
    split: str,
    sizes: Sequence[int],
    frozen: Sequence[Frozen] = (),
) -> list[Measured]:
    """Measures the cheap models, each with so many rows of train.

    Args:
        ladder: the models.
        data: the data module, set up for training.
        split: the split that is measured.
        sizes: numbers of rows of train.
        frozen: vectors of each backbone.
    """
    order = data.drawing(data.load_split("train"), data.split_seed)
    found = []
    for rung in ladder.rungs:
        for given in frozen if rung.takes == "vectors" else [None]:
            for size in sizes if rung.learns else [None]:
                chosen = np.sort(order[:size])
                found.append(measure(ladder, rung, data, split, chosen, given, size, len(frozen)))
    return found


def measure(
    ladder: Ladder,
    rung: Rung,
    data: DataModule,
    split: str,
    chosen: np.ndarray,
    given: Frozen | None,
    size: int | None,
    backbones: int,
) -> Measured:
    """Measures a cheap model.

    Args:
        ladder: the ladder that it is of.
        rung: the model.
        data: the data module, set up for training.
        split: the split that is measured.
        chosen: numbers of the rows of train that it learns.
        given: vectors, if it takes some.
        size: how many rows that are; None if it does not learn.
        backbones: how many there are, which names then tell apart.
    """
    name = rung.name if given is None or backbones < 2 else f"{rung.name}, {given.backbone}"
    vectors = given.vectors if given is not None else {}
    material = Material(chosen, split, held_out(data, split), vectors)
    meter = Meter()
    answer = rung.answer(material)
    spent = meter.read()
    assert ladder.judge is not None
    result = ladder.judge(answer.outputs, split)
    return Measured(name, size, result.scores.numpy(), result.values, answer.weights, spent)


def untuned(trainer: Any, task: Task, data: DataModule, split: str) -> Measured:
    """Measures the pre-trained model as it is.

    Args:
        trainer: a trainer of one process.
        task: the task, with the pre-trained weights.
        data: its data module, set up for training.
        split: the split that is measured.
    """
    meter, found = Meter(), Evaluation()
    task.cache = False  # rows are seen once
    rows = Rows(trainer, task, data)
    rows.close()
    begin = {"test": task.on_test_epoch_start, "validation": task.on_validation_epoch_start}[split]
    with evaluating(rows.task), torch.no_grad(), trainer.precision_plugin.forward_context():
        begin()
        for batch in identity.batches(rows.run, data.sets[split]):
            found.add(rows.task.evaluate(batch), batch["index"])
    spent = meter.read()
    _, (outputs, targets, numbers, losses) = found.compute(lambda sums: sums[None])
    result = judged(task, outputs, targets, data.rows(split, numbers.tolist()), losses)
    return Measured("untuned model", None, result.scores.numpy(), result.values, 0, spent)


class Growth(NamedTuple):
    """A learning curve as measured.

    Attributes:
        scores: mean score of each draw, by the number of rows.
        forecast: what more rows would give; None if train has too few for that.
        spent: what it took.
    """

    scores: Mapping[int, Sequence[float]]
    forecast: Forecast | None
    spent: Spent


def grow(
    ladder: Ladder,
    data: DataModule,
    split: str,
    frozen: Frozen,
    best: float,
    within: np.ndarray | None = None,
) -> Growth | None:
    """Measures the learning curve of the solved probe; None if the task has none.

    Args:
        ladder: the models.
        data: the data module, set up for training.
        split: the split that is measured.
        frozen: vectors of the rows.
        best: the best score that a row can have.
        within: numbers of the rows of train that count as all there are. Default: every row.
    """
    probes = [rung for rung in ladder.rungs if rung.takes == "vectors" and rung.learns]
    if not probes:
        return None
    meter, table = Meter(), data.load_split("train")
    there = np.arange(len(table)) if within is None else within
    table = table if within is None else table.select(within)
    least = max(LEAST, len(set(data.classes(table) or ())))
    sizes, errors = learning_curve.sizes_of(len(table), least), []
    for size in sizes:
        scores = []
        for draw in range(1 if size == len(table) else DRAWS):
            rows = np.sort(there[data.drawing(table, data.split_seed + draw)[:size]])
            found = measure(ladder, probes[-1], data, split, rows, frozen, size, 1)
            scores.append(found.scores)
        errors.append(best - np.stack(scores))
    means = {n: (best - e.mean(1)).tolist() for n, e in zip(sizes, errors, strict=True)}
    return Growth(means, learning_curve.forecast(sizes, errors), meter.read())
