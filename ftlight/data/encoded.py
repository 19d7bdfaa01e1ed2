"""Encoded splits, and batches of their rows for a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import Dataset

from ftlight.data import tables
from ftlight.data.tables import Columns


class EncodedSplit:
    """Rows ready for batches: encoded columns, and targets if they are known.

    Indexed by a column's name or by a list of row numbers.

    Args:
        columns: a table, or a mapping of column to values. Column ``length`` holds the tokens of
            each row, or whatever makes rows alike.
        targets: target of each row, returned as column ``target``.
        fingerprint: identifies the content, for caches; empty if it cannot be told.
    """

    def __init__(
        self, columns: Any, targets: Sequence[Any] | None = None, fingerprint: str = ""
    ) -> None:
        self.columns, self.targets, self.fingerprint = columns, targets, fingerprint

    def __len__(self) -> int:
        return len(self.columns["length"])

    def __getitem__(self, key: str | list[int]) -> Any:
        in_memory = isinstance(self.columns, dict)
        if isinstance(key, str):
            return self.columns[key] if in_memory else tables.column(self.columns, key)
        if in_memory:
            rows = {name: [values[i] for i in key] for name, values in self.columns.items()}
        else:
            rows = self.columns[key]
        if self.targets is None:
            return rows
        return {**rows, "target": [self.targets[i] for i in key]}


class Rows(Dataset[Any]):
    """Batches of a split, each asked for by its draw and row numbers.

    Args:
        split: the encoded split.
        collate: makes a batch of columns and row numbers.
        varies: whether rows differ from epoch to epoch; their columns then hold ``epoch``, the
            number of the draw, and so does their batch, as ``draw``.
        trains: whether batches are trained on; the draw is -1 in evaluation.
    """

    def __init__(
        self, split: Any, collate: Callable[[Columns, list[int]], Any], varies: bool, trains: bool
    ) -> None:
        self.split, self.collate, self.varies, self.trains = split, collate, varies, trains

    def __getitem__(self, batch: tuple[int, list[int]]) -> Any:
        draw, rows = batch
        columns = self.split[rows]
        if not self.varies:
            return self.collate(columns, rows)
        draw = draw if self.trains else -1
        return {**self.collate({**columns, "epoch": [draw] * len(rows)}, rows), "draw": draw}
