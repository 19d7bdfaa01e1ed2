"""Rows with a label: what kind of task it asks for, which labels there are, and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, cast

import datasets
import torch

from ftlight.data import files, labels
from ftlight.data.module import DataModule
from ftlight.errors import UserError


def label_text(value: Any, place: str, line: int, column: str) -> str:
    """A label as text; a list of labels (JSONL, Parquet) joined with ``|`` and ending with one, so that it stays a list.

    Raises:
        UserError: there is none.
    """
    if isinstance(value, list):
        value = "".join(f"{files.as_text(v, place, line, column)}{labels.SEPARATOR}" for v in value) or labels.SEPARATOR
    text = files.as_text(value, place, line, column).strip()
    if not text:
        raise UserError(f"{place}:{line}: column {column} has no label; fill it in or take the row out (of several labels, | means none)")
    return text


class Labelled(DataModule):
    """Rows with a column ``label``. A subclass says how rows are read and what a model takes of them.

    Args:
        label: column of the label.
        kind: single label, multi (several, a|b or a list) or regression (a number); auto tells by the label column.
        base: options of DataModule.
    """

    def __init__(
        self,
        train: str | None = None,
        *,
        label: str = "label",
        kind: Literal["auto", "single", "multi", "regression"] = "auto",
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.label, self.given_kind = label, kind
        self._labels: list[str] | None = None

    @property
    def kind(self) -> labels.Kind:
        """What the labels ask for; read from train, before anything is held out of it, where it is not given."""
        if self.given_kind == "auto" and self.given_labels is not None and not self.files["train"]:
            return "single"
        if self.given_kind == "auto":
            self._infer_kind(self.raw("train"))
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
        self.raw("train")
        # shares held out of train belong to it
        shares = [s for s in ("train", "validation", "test") if s == "train" or (s in self._raw and not self.files[s])]
        counts = Counter(value for s in shares for value in self._raw[s]["label"])
        names, notes = labels.collect(counts, self.kind, f"{self.files['train']}: {self.label_place}")
        self.notes += notes
        return names

    def classes(self, table: datasets.Dataset) -> Sequence[str] | None:
        """Labels of the rows, where there is one each."""
        self._infer_kind(table)
        return table["label"][:] if self.given_kind == "single" else None

    def numbers(self, table: datasets.Dataset, split: str) -> list[Any]:
        """Labels of the rows as numbers.

        Raises:
            UserError: one is not among the labels of train.
        """
        place = str(self.files[split] or self.files["train"])
        where = "data.labels" if self.given_labels else "train"
        return labels.encode(table["label"][:], table["line"][:], self.kind, self.labels, place, where)

    def targets(self, given: Sequence[Any]) -> torch.Tensor:
        """Targets of a batch: classes ``int64 [rows]``, members ``float [rows, labels]``, or values ``float [rows]``."""
        if self.kind != "multi":
            return torch.tensor(given)
        members = torch.zeros(len(given), len(self.labels))
        for i, numbers in enumerate(given):
            members[i, numbers] = 1
        return members
