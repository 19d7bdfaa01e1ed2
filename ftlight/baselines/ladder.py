"""The cheap models of a task in a row: what each is given, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from torch import Tensor

PROMPTS = "prompts"  # key of the vectors of a ladder's own texts


class Material(NamedTuple):
    """What a cheap model is given.

    Attributes:
        train: numbers of the rows of train that it may learn.
        split: the split whose rows it answers; it never sees what is asked for there.
        held_out: split that its settings are chosen on; None if there is none but that.
        vectors: a vector each row by split ``[rows, width]``, from a frozen backbone; empty for a
            model that takes none.
    """

    train: np.ndarray
    split: str
    held_out: str | None
    vectors: Mapping[str, Tensor] = {}


class Answer(NamedTuple):
    """What a cheap model says of the rows of a split.

    Attributes:
        outputs: as :attr:`Ladder.judge` takes them, in the order of the rows.
        weights: numbers that it learned.
    """

    outputs: Any
    weights: int


class Judged(NamedTuple):
    """How good answers are.

    Attributes:
        scores: of each row, ``double [rows]``; more is better.
        values: metrics by name.
    """

    scores: Tensor
    values: Mapping[str, float]


class Rung(NamedTuple):
    """A cheap model.

    Attributes:
        name: its name.
        answer: learns, and answers.
        takes: what it takes: rows, or vectors of a frozen backbone.
        learns: whether it knows more by more rows of train.
    """

    name: str
    answer: Callable[[Material], Answer]
    takes: Literal["rows", "vectors"] = "rows"
    learns: bool = True


class Ladder(NamedTuple):
    """The cheap models of a task, the cheapest first.

    Attributes:
        rungs: the models.
        judge: how good their answers are for the rows of a split; None without models.
        metric: the task's own metric, among the values of what is judged.
        score: what the score of a row is, if no metric is the mean of it.
        of_run: reads the scores of a run's rows from its folder, if its outcomes are others.
        prompts: texts whose vectors a rung takes, too, such as names of labels.
        untuned: whether the pre-trained model answers as it is.
        fits: trainings that are cheap models, too, and their options.
        notes: what a person should know, a line each.
    """

    rungs: Sequence[Rung]
    judge: Callable[[Any, str], Judged] | None
    metric: str
    score: str = ""
    of_run: Callable[[Path], Sequence[float]] | None = None
    prompts: Sequence[str] = ()
    untuned: bool = False
    fits: Mapping[str, Sequence[str]] = {}
    notes: Sequence[str] = ()


def judged(
    task: Any,
    outputs: Any,
    targets: Any,
    rows: Sequence[Mapping[str, Any]],
    row_losses: Tensor | None = None,
) -> Judged:
    """Judges outputs as those of a task's own steps; arguments as of its ``compute_metrics``."""
    result = task.compute_metrics(outputs, targets, rows)
    kept = result._replace(outputs=outputs, targets=targets, row_losses=row_losses)
    return Judged(task.row_scores(kept, rows).double(), result.values)
