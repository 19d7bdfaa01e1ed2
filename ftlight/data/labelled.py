"""Rows with a label: what kind of task it asks for, which labels there are, and their numbers."""

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
    """A label as text; a list of labels (JSONL, Parquet) joined with ``|`` and ending with one, so that it stays a list.

    Empty where there is none: of several labels, none is a bar.
    """
    if isinstance(value, list):
        value = (
            "".join(f"{files.as_text(v, place, line, column)}{labels.SEPARATOR}" for v in value)
            or labels.SEPARATOR
        )
    return files.as_text(value, place, line, column).strip()


def without(table: datasets.Dataset, rows: Sequence[int]) -> datasets.Dataset:
    """A table without some of its rows."""
    return table.select(np.setdiff1d(np.arange(len(table)), rows)) if len(rows) else table


class Labelled(DataModule):
    """Rows with a column ``label``. A subclass says how rows are read and what a model takes of them.

    Args:
        label: column of the label.
        kind: single label, multi (several, a|b or a list) or regression (a number); auto tells by the label column.
        on_missing_label: error names the rows that have no label, skip leaves them out and counts them.
        base: options of DataModule.
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
        lines, what = [table["line"][i] for i in missing], f"column {self.label} has no label"
        if self.on_missing_label == "error" or len(missing) == len(table):
            such = (
                f" ({len(missing):,} such: lines {join_limited(lines, 5)})"
                if len(missing) > 1
                else ""
            )
            way = "fill it in, take the rows out, or set data.on_missing_label: skip (of several labels, | means none)"
            raise UserError(f"{name}:{lines[0]}: {what}{such}; {way}")
        self.notes.append(
            f"{split}: {len(missing):,} of {len(table):,} rows left out: {what} (lines {join_limited(lines, 3)})"
        )
        return without(table, missing)

    @property
    def kind(self) -> labels.Kind:
        """What the labels ask for; read from train, before anything is held out of it, where it is not given."""
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
    def label_place(self) -> str:
        """Where labels are read, in words."""
        return f"column {self.label}"

    @property
    def labels(self) -> list[str]:
        """The labels in order: as given, else those of train sorted; none for regression."""
        if self.kind == "regression":
            return []
        if self._labels is None:
            self._labels = list(self.given_labels or self._read_labels())
        return self._labels

    def _read_labels(self) -> list[str]:
        self.load_split("train")
        # shares held out of train belong to it
        shares = [
            s
            for s in ("train", "validation", "test")
            if s == "train" or (s in self._raw and not self.files[s])
        ]
        counts = Counter(value for s in shares for value in tables.column(self._raw[s], "label"))
        names, notes = labels.collect(
            counts, self.kind, f"{self.files['train']}: {self.label_place}"
        )
        self.notes += notes
        return names

    def classes(self, table: datasets.Dataset) -> Sequence[str] | None:
        """Labels of the rows, where there is one each."""
        self._infer_kind(table)
        return tables.column(table, "label") if self.given_kind == "single" else None

    def duplicate_labels(self, table: datasets.Dataset) -> Sequence[str] | None:
        """Labels of the rows; none of numbers, which may differ for the same input."""
        return [""] * len(table) if self.kind == "regression" else tables.column(table, "label")

    def numbers(self, table: datasets.Dataset, split: str) -> list[Any]:
        """Labels of the rows as numbers.

        Raises:
            UserError: one is not among the labels of train.
        """
        place = str(self.files[split] or self.files["train"])
        where = "data.labels" if self.given_labels else "train"
        values = tables.column(table, "label")
        found = labels.encode(
            values, tables.column(table, "line"), self.kind, self.labels, place, where
        )
        self.notes += labels.absent(values, self.kind, self.labels, split)
        return found

    def targets(self, given: Sequence[Any]) -> torch.Tensor:
        """Targets of a batch: classes ``int64 [rows]``, members ``float [rows, labels]``, or values ``float [rows]``."""
        if self.kind != "multi":
            return torch.tensor(given)
        members = torch.zeros(len(given), len(self.labels))
        for i, numbers in enumerate(given):
            members[i, numbers] = 1
        return members
