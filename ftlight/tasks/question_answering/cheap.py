"""A cheap model of answers: the sentence that has most words of the question."""

from __future__ import annotations

import re

import numpy as np
import torch

from ftlight.baselines import words
from ftlight.baselines.ladder import Answer, Judged, Ladder, Material, Rung
from ftlight.metrics import answers
from ftlight.task import Task
from ftlight.tasks.question_answering.data import QAData

END = re.compile(r"(?<=[.!?])\s+|\n+")


def ladder(task: Task, data: QAData) -> Ladder:
    """The cheap model."""

    def judge(outputs: list[str], split: str) -> Judged:
        golds = data.load_split(split)["answers"][:]
        v2 = not all(golds)
        pairs = zip(outputs, golds, strict=True)
        found = torch.tensor([answers.scores(said, gold, v2) for said, gold in pairs])
        exact, f1 = found.double().mean(0).tolist()
        return Judged(found[:, 1].double(), {"f1": f1, "exact": exact})

    def nearest(given: Material) -> Answer:
        features = words.Features(data.row_texts(data.load_split("train")))
        questions, contexts = data.row_texts(data.load_split(given.split))
        parts = [[part for part in END.split(text) if part] or [""] for text in contexts]
        asked = features([questions])
        said = []
        for row, sentences in enumerate(parts):
            found = np.asarray((features([sentences]) @ asked[row].T).todense())
            said.append(sentences[int(found.argmax())])
        return Answer(said, 0)

    rung = Rung("sentence nearest to the question", nearest, learns=False)
    return Ladder([rung], judge, task.primary_metric)
