"""Rows with a label: which kind of task it asks for, which labels there are, and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, cast

import datasets
import numpy as np
import torch

from ftlight.data import files, labels, tables
from ftlight.data.module import DataModule
from ftlight.utils.errors import UserError, join_limited


def label_text(value: Any, place: str, line: int, column: str) -> str:
    """A label as text; empty if it is missing.

    A list of labels (JSONL, Parquet) is joined with ``|`` and ends with one, so that it stays a
    list: no label at all is a bar alone.
    """
    if isinstance(value, list):
        members = [files.as_text(member, place, line, column) for member in value]
        value = "".join(f"{member}{labels.SEPARATOR}" for member in members) or labels.SEPARATOR
    return files.as_text(value, place, line, column).strip()


def without(table: datasets.Dataset, rows: Sequence[int]) -> datasets.Dataset:
    """A table without some of its rows."""
    return table.select(np.setdiff1d(np.arange(len(table)), rows)) if len(rows) else table


class Labelled(DataModule):
    """Rows with a column ``label``. A subclass reads them and makes inputs of a model.

    Args:
        label: Column of the label.
        kind: Kind of label: single, multi (several: a|b or a list) or regression (a number); auto
            tells by the label column.
        on_missing_label: What to do with rows without a label: error names them, skip leaves them
            out and counts them.
        base: Options of DataModule.
    """

    def __init__(
        self,
        train: str | None = None,
        *,
        label: str = "label",
        kind: Literal["auto", "single", "multi", "regression"] = "auto",
        on_missing_label: Literal["error", "skip"] = "error",
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.on_missing_label = on_missing_label
        self.label, self.given_kind = label, kind
        self._labels: list[str] | None = None

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        """Reads a split; names, or leaves out, the rows that have no label."""
        table = super()._load(split, name)
        missing = [i for i, label in enumerate(tables.column(table, "label")) if not label]
        if not missing:
            return table
        lines = [table["line"][i] for i in missing]
        what = f"column {self.label} has no label"
        if self.on_missing_label == "error" or len(missing) == len(table):
            such = f" ({len(missing):,} such: lines {join_limited(lines, 5)})"
            raise UserError(
                f"{name}:{lines[0]}: {what}{such if len(missing) > 1 else ''}; fill it in, take the"
                " rows out, or set data.on_missing_label: skip"
                " (in multi-label data, | stands for no label)"
            )
        self.notes.append(
            f"{split}: {len(missing):,} of {len(table):,} rows left out:"
            f" {what} (lines {join_limited(lines, 3)})"
        )
        return without(table, missing)

    @property
    def kind(self) -> labels.Kind:
        """Kind of label: as given, or told by train before anything is held out of it."""
        if self.given_kind == "auto" and self.given_labels is not None and not self.files["train"]:
            return "single"
        if self.given_kind == "auto":
            self._infer_kind(self.load_split("train"))
        return cast(labels.Kind, self.given_kind)

    def _infer_kind(self, table: datasets.Dataset) -> None:
        if self.given_kind == "auto":
            self.given_kind = labels.infer_kind(table.unique("label"))
            self.notes.append(f"kind of task: {self.given_kind}, by {self.label_place} (data.kind)")

    @property
    def column_names(self) -> dict[str, str]:
        """The user's names of columns that rows as read hold under others, by those."""
        return {"label": self.label}

    @property
    def label_place(self) -> str:
        """Where labels are read, in words."""
        return f"column {self.label}"

    @property
    def labels(self) -> list[str]:
        """The labels in order: as given, else those of train sorted; none in a regression."""
        if self.kind == "regression":
            return []
        if self._labels is None:
            self._labels = list(self.given_labels or self._read_labels())
        return self._labels

    def _read_labels(self) -> list[str]:
        counts = Counter[str]()
        for table in self.train_tables():
            counts.update(tables.column(table, "label"))
        place = f"{self.files['train']}: {self.label_place}"
        names, notes = labels.collect(counts, self.kind, place)
        self.notes += notes
        return names

    def classes(self, table: datasets.Dataset) -> Sequence[str] | None:
        """Labels of the rows if each has a single one."""
        self._infer_kind(table)
        return tables.column(table, "label") if self.given_kind == "single" else None

    def duplicate_labels(self, table: datasets.Dataset) -> Sequence[str] | None:
        """Labels of the rows; numbers are left empty, since they may differ for the same input."""
        return [""] * len(table) if self.kind == "regression" else tables.column(table, "label")

    def numbers(self, table: datasets.Dataset, split: str) -> list[Any]:
        """Labels of the rows as numbers.

        Raises:
            UserError: one is not among the labels of train.
        """
        values, lines = tables.column(table, "label"), tables.column(table, "line")
        place = self.file_of(split)
        numbers = labels.encode(values, lines, self.kind, self.labels, place, self.labels_from)
        self.notes += labels.absent(values, self.kind, self.labels, split)
        return numbers

    def targets(self, numbers: Sequence[Any]) -> torch.Tensor:
        """Targets of a batch.

        Returns:
            Classes ``int64 [rows]``, several labels as 0 and 1 ``float [rows, labels]``, or values
            ``float [rows]``.
        """
        if self.kind != "multi":
            return torch.tensor(numbers)
        members = torch.zeros(len(numbers), len(self.labels))
        for i, row in enumerate(numbers):
            members[i, row] = 1
        return members
