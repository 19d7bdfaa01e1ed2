"""Cheap models of search and recommendation: popularity, words in common, the untuned model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ftlight.baselines import words
from ftlight.baselines.ladder import Answer, Judged, Ladder, Material, Rung
from ftlight.metrics.ranking import ranking, ranks
from ftlight.task import Task
from ftlight.tasks.retrieval.data import RetrievalData
from ftlight.tasks.retrieval.loss import NEVER


def ladder(task: Task, data: RetrievalData) -> Ladder:
    """The cheap models."""

    def judge(outputs: Sequence[Tensor], split: str) -> Judged:
        first = [1 / int(ranked.min()) if len(ranked) else 0.0 for ranked in outputs]
        return Judged(torch.tensor(first, dtype=torch.double), ranking(outputs)[0])

    def popular(given: Material) -> Answer:
        counts = torch.tensor(data.catalogue.counts, dtype=torch.float)
        rows = len(data.sets[given.split])
        blocks = (counts.expand(min(words.BLOCK, rows - i), -1) for i in starts(rows))
        return Answer(ranked(blocks, data, given.split), len(counts))

    def tf_idf(given: Material) -> Answer:
        table = data.load_split(given.split)
        queries = data.queries(table[:], data.file_of(given.split))
        features = words.Features([data.catalogue.texts])
        blocks = words.products(features([queries]), features([data.catalogue.texts]))
        return Answer(ranked(map(torch.from_numpy, blocks), data, given.split), 0)

    found = [Rung("TF-IDF", tf_idf, learns=False)]
    if any(data.catalogue.counts):
        found.insert(0, Rung("popularity", popular, learns=False))
    return Ladder(found, judge, task.primary_metric, untuned=True)


def starts(rows: int) -> range:
    """Where blocks of rows begin."""
    return range(0, rows, words.BLOCK)


def ranked(blocks: Iterator[Tensor], data: RetrievalData, split: str) -> list[Tensor]:
    """The ranks of what each row seeks, among all items but those that it had.

    Args:
        blocks: scores of all items for some rows at a time, ``[rows, items]``.
        data: the data module.
        split: the split of the rows.
    """
    targets, found = data.sets[split].targets, list[Tensor]()
    for scores in blocks:
        own = targets[len(found) : len(found) + len(scores)]
        scores = scores.clone()
        for row, (_, had) in enumerate(own):
            scores[row, had] = NEVER
        found += ranks(scores, [sought for sought, _ in own])
    return found
