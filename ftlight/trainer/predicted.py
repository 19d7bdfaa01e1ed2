"""Requests to predict rows, and what the model says of them, as plain values."""

from __future__ import annotations

from typing import Any, NamedTuple

from ftlight.data.files import Row
from ftlight.run.predictions import merge
from ftlight.trainer import unsure


class Request(NamedTuple):
    """Rows that are to be predicted.

    Attributes:
        rows: rows with the input columns of training.
        at_least: share of the answered rows that are to be right, or None.
        coverage: share of rows whose set or range is to hold the truth, or None.
    """

    rows: list[Row]
    at_least: float | None = None
    coverage: float | None = None


class Predicted(NamedTuple):
    """Rows with what the model says of them.

    Attributes:
        rows: the rows that could be read, in order.
        answers: ``prediction``, ``score`` and the other fields of each.
        faults: the other rows by their number from 0, and why they could not be read.
        promise: what the answers keep.
        note: how many rows have no text, and which; empty if all have one.
    """

    rows: list[Row]
    answers: list[dict[str, Any]]
    faults: dict[int, str]
    promise: unsure.Promise
    note: str = ""

    def fields(self, probabilities: bool = False) -> list[dict[str, Any]]:
        """Each row's columns with its answer beside them, as a line of a JSONL file.

        Args:
            probabilities: whether the probability of every label is among them.
        """
        pairs = zip(self.rows, self.answers, strict=True)
        return [merge(row, answer, probabilities) for row, answer in pairs]

    def of_all_rows(self) -> list[dict[str, Any]]:
        """The answer to each row in order; of one that could not be read an ``error``."""
        answers, nothing = iter(self.answers), {"prediction": None, "score": None}
        return [
            {**nothing, "error": self.faults[i]} if i in self.faults else next(answers)
            for i in range(len(self.rows) + len(self.faults))
        ]
