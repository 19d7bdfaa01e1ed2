"""What a model loses in 8 bits, and how fast torch and onnxruntime are with it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ftlight.data.module import DataModule
from ftlight.metrics.evaluation import Evaluation
from ftlight.task import Task
from ftlight.utils.errors import UserError
from ftlight.utils.format import number, size

SPLIT = "validation"
LEAST = 0.98  # share of rows that must keep their label in 8 bits
NEAR = 0.05  # of the spread of predicted numbers: within it two are the same
SINGLE, MANY = 1, 32  # rows of the batches that are timed
REPEATS = 5


class Form(NamedTuple):
    """A form of a model.

    Attributes:
        name: for the screen.
        model: takes inputs by name.
        size: bytes of its file, if it is one.
    """

    name: str
    model: nn.Module
    size: int | None


def has_rows(data: DataModule, needed: bool) -> bool:
    """Reads the validation rows; returns whether there are any.

    Args:
        data: the data module.
        needed: whether it cannot do without.

    Raises:
        UserError: they are needed, and there are none or they cannot be read.
    """
    if not data.has(SPLIT):
        if needed:
            raise UserError(
                "--int8 is checked on validation rows, and this run has none: give"
                " --data.validation FILE"
            )
        return False
    try:
        data.setup("validate")
    except UserError:
        if needed:
            raise
        return False  # a run may be exported where its data are not
    return True


# What is lost


def lost(task: Task, data: DataModule, eight: nn.Module) -> str:
    """What a model in 8 bits loses on the validation rows, as a sentence.

    Args:
        task: the task, with its model in fp32; it has that again afterwards.
        data: its data module, with the validation rows read.
        eight: the model in 8 bits.

    Raises:
        UserError: fewer rows than LEAST keep their label.
    """
    before, plain = _measured(task, data)
    model, task.model = task.model, eight
    try:
        after, other = _measured(task, data)
    finally:
        task.model = model
    share = agreement(plain, other)
    rows = f"{share:.1%} of {len(plain):,} validation rows".replace("%", " %")
    score = f"{task.primary_metric} {number(before)}, in 8 bits {number(after)}"
    if share < LEAST:
        least = f"{LEAST:.0%}".replace("%", " %")
        raise UserError(
            f"--int8: only {rows} keep their label, {least} must ({score}); leave out --int8"
        )
    return f"{rows} keep their label; {score}."


def _measured(task: Task, data: DataModule) -> tuple[float, list[Any]]:
    """The score of a task on the validation rows, and what it says of each, in order."""
    collected, said = Evaluation(), dict[int, Any]()
    task.on_predict_epoch_start()
    with torch.inference_mode():
        for batch in data.val_dataloader():
            step, numbers = task.evaluate(batch), batch["index"]
            collected.add(step, numbers)
            answers = task.postprocess(step.outputs, task.rows_of("val", numbers))
            said.update(zip(numbers, (answer["prediction"] for answer in answers), strict=True))
    task.on_predict_epoch_end()
    _, (outputs, targets, numbers, _) = collected.compute(lambda values: values)
    result = task.compute_metrics(outputs, targets, task.rows_of("val", numbers.tolist()))
    return result.values[task.primary_metric], [said[number] for number in sorted(said)]


def agreement(one: Sequence[Any], other: Sequence[Any]) -> float:
    """Share of rows with the same label, number or spans.

    Numbers are the same within NEAR of their standard deviation, spans if type and place are.

    Args:
        one: predictions.
        other: those of another model, of the same rows.

    >>> agreement(["a", "b"], ["a", "c"]), agreement([1.0, 9.0], [1.1, 8.9])
    (0.5, 1.0)
    """
    if all(isinstance(value, float) for value in one):
        off = np.abs(np.subtract(one, other))
        return float((off <= NEAR * np.std(one)).mean())
    pairs = zip(map(_plain, one), map(_plain, other), strict=True)
    return float(np.mean([a == b for a, b in pairs]))


def _plain(prediction: Any) -> Any:
    """A prediction without scores."""
    if not isinstance(prediction, list):
        return prediction
    return [(span["type"], span["start"], span["end"]) for span in prediction]


# How fast


def batches(
    data: DataModule, inputs: Mapping[str, Tensor], rows: bool
) -> dict[int, list[Mapping[str, Tensor]]]:
    """Inputs of a model to time it on, by the number of their rows.

    Args:
        data: the data module.
        inputs: those of two rows, for a run without validation rows.
        rows: whether the validation rows are read.
    """
    if not rows:
        few = {name: value[:1] for name, value in inputs.items()}
        many = {
            name: value.repeat(MANY // 2, *[1] * (value.ndim - 1)) for name, value in inputs.items()
        }
        return {SINGLE: [few], MANY: [many]}
    table = data.sets[SPLIT]
    chosen = np.linspace(0, len(table) - 1, MANY).round().astype(int).tolist()
    each = [data.collate(table[[row]], [row])["inputs"] for row in dict.fromkeys(chosen)]
    return {SINGLE: each, MANY: [data.collate(table[chosen], chosen)["inputs"]]}


def speeds(
    forms: Sequence[Form], inputs: Mapping[int, Sequence[Mapping[str, Tensor]]]
) -> tuple[list[str], list[list[str]]]:
    """Times the forms of a model in turn; returns head and rows of a table.

    Args:
        forms: the forms.
        inputs: what they are run on, by the number of rows.
    """
    head = ["model", "file", *(f"ms, {rows} row{'s' if rows > 1 else ''}" for rows in inputs)]
    times = {
        form.name: [_milliseconds(form.model, some) for some in inputs.values()] for form in forms
    }
    table = []
    for form in forms:
        file = "" if form.size is None else size(form.size)
        table.append([form.name, file, *(f"{ms:.3g}" for ms in times[form.name])])
    return head, table


@torch.inference_mode()
def _milliseconds(model: nn.Module, inputs: Sequence[Mapping[str, Tensor]]) -> float:
    """Median time of a batch, after each ran once."""
    taken = []
    for repeat in range(1 + REPEATS):
        for some in inputs:
            begun = time.perf_counter()
            model(**some)
            if repeat:
                taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e3
