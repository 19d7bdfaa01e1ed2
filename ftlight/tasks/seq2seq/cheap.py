"""Cheap models of texts to write: the first sentences, or what was written for the nearest one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from ftlight.baselines import words
from ftlight.baselines.ladder import Answer, Judged, Ladder, Material, Rung
from ftlight.data import files, tables
from ftlight.metrics import texts
from ftlight.metrics.words import Tokenizer
from ftlight.task import Task
from ftlight.tasks.seq2seq import scores
from ftlight.tasks.seq2seq.data import Seq2SeqData

END = re.compile(r"(?<=[.!?。！？])\s+|\n+")
SCORE = "rougeL"


def ladder(task: Task, data: Seq2SeqData, bleu_tokenize: Tokenizer) -> Ladder:
    """The cheap models, judged by the ROUGE-L of each row: none of them has a loss.

    Args:
        task: the task.
        data: its data module, set up for training.
        bleu_tokenize: option of the task.
    """

    def judge(outputs: Sequence[str], split: str) -> Judged:
        references = data.load_split(split)["references"][:]
        rows = texts.rouge_rows(outputs, references, [SCORE])[SCORE]
        tokenize = texts.tokenizer_of(bleu_tokenize, references)
        values = scores.compare(outputs, references, tokenize)[0]
        return Judged(torch.tensor(rows, dtype=torch.double), values)

    def of_run(folder: Path) -> list[float]:
        written = [row["prediction"] for row in files.read(folder / "test_predictions.csv")]
        return texts.rouge_rows(written, data.load_split("test")["references"][:], [SCORE])[SCORE]

    def first(given: Material) -> Answer:
        table = data.load_split("train")
        targets = tables.column(table, "target")
        usual = round(median(len(sentences(targets[row])) for row in given.train))
        sources = tables.column(data.load_split(given.split), "source")
        return Answer([" ".join(sentences(text)[:usual]) for text in sources], 0)

    def nearest(given: Material) -> Answer:
        table = data.load_split("train")
        sources, targets = tables.column(table, "source"), tables.column(table, "target")
        asked = tables.column(data.load_split(given.split), "source")
        found = words.neighbour([sources[row] for row in given.train], asked)
        return Answer([targets[given.train[row]] for row in found], 0)

    rungs = [Rung("first sentences", first), Rung("target of the nearest text", nearest)]
    return Ladder(rungs, judge, task.primary_metric, score=SCORE, of_run=of_run)


def sentences(text: str) -> list[str]:
    """The sentences of a text, as far as marks and lines tell.

    >>> sentences("It came. Is it new? Yes")
    ['It came.', 'Is it new?', 'Yes']
    """
    return [part for part in END.split(text.strip()) if part]
