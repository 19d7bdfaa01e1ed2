"""A cheap model of entities: the most frequent tag of each word."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ftlight.baselines.ladder import Answer, Judged, Ladder, Material, Rung, judged
from ftlight.data import tables
from ftlight.task import Task
from ftlight.tasks.token_classification.data import TokenData

Tags = defaultdict[str, Counter[int]]


def ladder(task: Task, data: TokenData, tags: int) -> Ladder:
    """The cheap model, and the head alone as a training beside it.

    Args:
        task: the task.
        data: its data module, set up for training.
        tags: number of tags.
    """

    def judge(outputs: Sequence[Tensor], split: str) -> Judged:
        targets = [torch.tensor(row) for row in data.sets[split].targets]
        return judged(task, outputs, targets, data.load_split(split))

    def frequent(given: Material) -> Answer:
        known = count(words_of(data, "train"), data.sets["train"].targets, given.train.tolist())
        outputs = [tagged(words, known, tags) for words in words_of(data, given.split)]
        return Answer(outputs, len(known))

    rungs = [Rung("most frequent tag of a word", frequent)]
    fits = {"head alone": ("--model.unfreeze", "head")}
    return Ladder(rungs, judge, task.primary_metric, score="F1 of a row", fits=fits)


def words_of(data: TokenData, split: str) -> Iterator[list[str]]:
    """The words of each row of a split."""
    table = data.load_split(split)
    for text, places in zip(tables.column(table, "text"), table["__words"][:], strict=True):
        yield [text[start:end] for start, end in places]


def count(
    rows: Iterator[list[str]], targets: Sequence[Sequence[int]], learn: Sequence[int]
) -> Tags:
    """How often each word has each tag in rows that are learned; in small letters, too."""
    found: Tags = defaultdict(Counter)
    chosen = set(learn)
    for row, words in enumerate(rows):
        for word, tag in zip(words, targets[row], strict=True) if row in chosen else ():
            for spelling in {word, word.lower()}:
                found[spelling][tag] += 1
    return found


def tagged(words: Sequence[str], known: Tags, tags: int) -> Tensor:
    """The tags of a row's words with their shares, as a step gives them, ``[words, 2 + tags]``."""
    output = torch.zeros(len(words), 2 + tags)
    for place, word in enumerate(words):
        counts = known.get(word) or known.get(word.lower())
        if counts is None:
            output[place, :2] = torch.tensor([0.0, 1.0])
            continue
        (tag, most), *_ = counts.most_common(1)
        output[place, :2] = torch.tensor([float(tag), most / counts.total()])
    return output
