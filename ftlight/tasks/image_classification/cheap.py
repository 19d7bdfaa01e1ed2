"""Cheap models of images: majority, the nearest image of train, a solved probe."""

from __future__ import annotations

from ftlight.baselines import vectors
from ftlight.baselines.ladder import Answer, Ladder, Material, Rung
from ftlight.data.labelled import Labelled
from ftlight.tasks import ladders
from ftlight.tasks.classification import Classification


def ladder(task: Classification, data: Labelled) -> Ladder:
    """The cheap models."""

    def neighbour(given: Material) -> Answer:
        states, labels = given.vectors[given.split], len(data.labels)
        found = vectors.neighbour(ladders.learned(data, given), states, task.kind, labels)
        return Answer(found, 0)

    found = ladders.labelled(task, data)
    return ladders.before_the_probe(found, Rung("nearest image", neighbour, "vectors"))
