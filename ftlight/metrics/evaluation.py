"""What a step gives, what an evaluation finds, and how the one becomes the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ftlight.metrics.collected import Collected, Gathered, Rows


class Step(NamedTuple):
    """What a step gives.

    Attributes:
        loss: mean over the batch's rows (or other units, see weight), a scalar; None if the batch
            has no targets.
        outputs: what metrics and :meth:`ftlight.task.Task.postprocess` read: ``[rows, …]``, or a
            tensor per row if they differ in length. Never all logits: an evaluation keeps the
            outputs of every row.
        targets: targets in the same form; None if metrics read them from the rows.
        weight: units that the loss is a mean of, such as tokens. Default: the rows.
        row_losses: loss of each row ``[rows]``, if metrics do not tell how good a row is.
    """

    loss: Tensor | None
    outputs: Rows
    targets: Rows | None = None
    weight: float | None = None
    row_losses: Tensor | None = None


class Asked(NamedTuple):
    """A part of an answer whose support is measured: it stays the same, and the row is changed.

    Attributes:
        name: the part for a person: a label, the text of an entity, a reply.
        key: what :meth:`ftlight.task.Task.support` knows it by: number of a label, type of an
            entity, tokens of a reply, number of an item.
        text: name of the text that it is a part of (see
            :meth:`ftlight.data.module.DataModule.texts_of`); empty if it is not.
        span: its characters in that text, ``(start, end)``.
    """

    name: str
    key: Any
    text: str = ""
    span: tuple[int, int] | None = None


class EvaluationResult(NamedTuple):
    """What an evaluation found.

    Attributes:
        values: metric to value; nan if it is not defined.
        rows: number of rows, each counted once over all processes.
        intervals: metric to the ends of its 95 % interval; the task's score is among them.
        confusion: confusion matrix ``[actual, predicted]``, if the task has one.
        outputs: outputs of the rows in order, for :meth:`ftlight.task.Task.postprocess`.
        targets: targets of the rows in order; None if metrics read them from the rows.
        numbers: which rows: all of them, unless an option limits the batches.
        row_losses: losses of the rows in order, if the steps gave them.
        twins: how like the nearest row of train each row is ``double [rows]``: 1 if it is the same;
            None if that was not looked for.
        in_train: how many of the rows are in train too, the same or nearly; None likewise.
        unseen: the same of the other rows; None if there are none, or all are others.
        about: metric to what its value depends on, by name: ``{"bleu": {"tokenize": "zh"}}``.
        notes: what a person should know of it, a line each.
        classes: precision, recall, f1 and support of each class, if the task has classes.
        facts: what else belongs into the test's JSON, by name.
        shown: further rows of the table on the screen: name and value.
    """

    values: dict[str, float]
    rows: int
    intervals: Mapping[str, tuple[float, float]] = {}
    confusion: Tensor | None = None
    outputs: Rows | None = None
    targets: Rows | None = None
    numbers: Tensor | None = None
    row_losses: Tensor | None = None
    twins: Tensor | None = None
    in_train: int | None = None
    unseen: EvaluationResult | None = None
    about: Mapping[str, Mapping[str, str]] = {}
    notes: Sequence[str] = ()
    classes: Mapping[str, Mapping[str, float]] = {}
    facts: Mapping[str, Any] = {}
    shown: Sequence[tuple[str, str]] = ()


class Evaluation(nn.Module):
    """Collects the steps of an evaluation over its batches and over all processes."""

    def __init__(self) -> None:
        super().__init__()
        self.collected = Collected()
        self.losses: list[Tensor] = []

    def reset(self) -> None:
        """Forgets what was collected."""
        self.losses.clear()
        self.collected.reset()

    def add(self, step: Step, rows: list[int]) -> None:
        """Adds a step that has a loss.

        Args:
            step: what the step gave.
            rows: numbers of the batch's rows.
        """
        assert step.loss is not None
        units = len(rows) if step.weight is None else step.weight
        self.collected.update(step.outputs, step.targets, rows, step.row_losses)
        # sum and count: the mean is over units, however they are batched
        count = step.loss.new_tensor(units, dtype=torch.float)
        self.losses.append(torch.stack([step.loss.detach().float() * units, count]))

    def compute(self, all_gather: Callable[[Tensor], Any]) -> tuple[float, Gathered]:
        """The mean loss; outputs, targets, numbers and losses of the rows, in order, on the CPU.

        What was collected is forgotten.

        Args:
            all_gather: gathers a tensor over all processes.
        """
        gathered = all_gather(torch.stack(self.losses).sum(0))
        total, count = gathered.cpu().double().reshape(-1, 2).sum(0).tolist()
        loss = total / count if count else float("nan")
        collected = self.collected.compute()
        self.reset()
        return loss, collected
