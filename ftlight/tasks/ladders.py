"""Cheap models of rows with labels or numbers, whatever their inputs are."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ftlight.baselines import guesses, vectors
from ftlight.baselines.ladder import Answer, Judged, Ladder, Material, Rung, judged
from ftlight.data.labelled import Labelled
from ftlight.tasks.classification import Classification

Pair = tuple[Tensor, Tensor]
SCORES = {"single": "", "multi": "F1 of a row", "regression": "negative squared error"}


def targets(data: Labelled, split: str, rows: Any = None) -> Tensor:
    """Targets of a split, or of some of its rows, as a batch has them."""
    numbers = data.sets[split].targets
    return data.targets(numbers if rows is None else [numbers[row] for row in rows])


def labelled(task: Classification, data: Labelled) -> Ladder:
    """Majority, or the mean, and a solved probe.

    Args:
        task: the task.
        data: its data module, set up for training.
    """
    kind, labels = task.kind, len(data.labels) or 1

    def judge(outputs: Tensor, split: str) -> Judged:
        return judged(task, outputs, targets(data, split), data.load_split(split))

    def majority(given: Material) -> Answer:
        own = targets(data, "train", given.train)
        return Answer(guesses.majority(own, len(data.sets[given.split]), kind, labels), 0)

    def probe(given: Material) -> Answer:
        held = None
        if given.held_out is not None:
            held = given.vectors[given.held_out], targets(data, given.held_out)
        found = vectors.probe(
            learned(data, given), held, given.vectors[given.split], kind, labels, data.split_seed
        )
        return Answer(*found)

    name = {"single": "majority", "multi": "most frequent set", "regression": "mean"}[kind]
    rungs = [Rung(name, majority, learns=False), Rung("probe", probe, "vectors")]
    return Ladder(rungs, judge, task.primary_metric, score=SCORES[kind])


def learned(data: Labelled, given: Material) -> Pair:
    """Vectors and targets of the rows that are learned."""
    return given.vectors["train"][given.train], targets(data, "train", given.train)


def before_the_probe(ladder: Ladder, *rungs: Rung) -> Ladder:
    """A ladder with more rungs below its last one."""
    return ladder._replace(rungs=[*ladder.rungs[:-1], *rungs, ladder.rungs[-1]])
