"""Cheap models of texts with labels: names of the labels, words and characters, a probe."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ftlight.baselines import vectors, words
from ftlight.baselines.ladder import PROMPTS, Answer, Ladder, Material, Rung
from ftlight.tasks import ladders
from ftlight.tasks.classification import Classification
from ftlight.tasks.text_classification import few_shot
from ftlight.tasks.text_classification.data import TextData
from ftlight.utils.errors import UserError


def ladder(task: Classification, data: TextData) -> Ladder:
    """The cheap models: majority, names of labels, words and characters, a solved probe."""
    kind, labels = task.kind, data.labels

    def tf_idf(given: Material) -> Answer:
        train = [_taken(part, given.train) for part in data.row_texts(data.load_split("train"))]
        texts = data.row_texts(data.load_split(given.split))
        own = ladders.targets(data, "train", given.train)
        return Answer(*words.linear(train, own, texts, kind, len(labels)))

    def names(given: Material) -> Answer:
        of_texts: Tensor = given.vectors[PROMPTS]
        directions = few_shot.directions(of_texts.reshape(-1, len(labels), of_texts.shape[1]))
        return Answer(vectors.by_names(given.vectors[given.split], directions), 0)

    found = ladders.labelled(task, data)
    model = "TF-IDF + ridge" if kind == "regression" else "TF-IDF + LinearSVC"
    found = ladders.before_the_probe(found, Rung(model, tf_idf))
    if kind != "single" or data.text_pair:
        return found
    try:
        prompts = few_shot.texts(labels)
    except UserError as error:
        reason = str(error).removeprefix("model.head_init: labels: ").partition(";")[0]
        return found._replace(notes=[f"no answers from the names of labels: {reason}"])
    found = ladders.before_the_probe(found, Rung("names of labels", names, "vectors", False))
    return found._replace(prompts=[text for of_template in prompts for text in of_template])


def _taken(texts: list[str], rows: np.ndarray) -> list[str]:
    return [texts[row] for row in rows]
