"""Rows with a label: which kind of task it asks for, which labels there are, and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import datasets
import numpy as np
import torch

from ftlight.data import (
    documents,
    files,
    label_columns,
    label_forms,
    label_kinds,
    labels,
    numerals,
    spelling,
    tables,
)
from ftlight.data.label_forms import Form
from ftlight.data.module import DataModule
from ftlight.models import scale
from ftlight.run import records
from ftlight.utils.atomic import write_json
from ftlight.utils.errors import UserError, join_limited


def without(table: datasets.Dataset, rows: Sequence[int]) -> datasets.Dataset:
    """A table without some of its rows."""
    return table.select(np.setdiff1d(np.arange(len(table)), rows)) if len(rows) else table


class Labelled(DataModule):
    """Rows with a column ``label``. A subclass reads them and makes inputs of a model.

    Args:
        label: Column of the label, or several columns of 0 and 1, each named for a label.
        kind: Kind of label: single, multi (several: a|b or a list) or regression (a number); auto
            tells by the label column.
        label_separator: Text between several labels of a row, such as a comma. Default: | or what
            the labels show.
        fold_labels: Join labels that differ only in capitals, blanks, hyphens, Unicode form or a
            letter written out (ue for ü), under the most frequent spelling.
        on_missing_label: What to do with rows without a label: error names them, skip leaves them
            out and counts them.
        base: Options of DataModule.
    """

    def __init__(
        self,
        train: str | None = None,
        *,
        label: str | list[str] = "label",
        kind: Literal["auto", "single", "multi", "regression"] = "auto",
        label_separator: str | None = None,
        fold_labels: bool = False,
        on_missing_label: Literal["error", "skip"] = "error",
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.on_missing_label = on_missing_label
        self.label = label if isinstance(label, str) else tuple(label)
        self.label_separator, self.fold_labels = label_separator, fold_labels
        self.given_kind = kind
        self.form: Form | None = None  # how cells are written, once train or a run tells
        self.spellings: dict[str, str] = {}  # those kept if labels are folded, by their keys
        self._labels: list[str] | None = None
        label_columns.check_options(self.label, kind, label_separator, self.given_labels)
        if not isinstance(label, str):
            self.given_kind, self.form = "multi", Form("joined")
            self.given_labels = self.given_labels or list(label)
        elif label_separator is not None and kind == "auto":
            self.given_kind = "multi"

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        """Reads a split; names, or leaves out, the rows without a label; writes labels alike."""
        if self.form is None and split != "train" and self.files["train"]:
            self.load_split("train")  # tells how labels are written
        table = super()._load(split, name)
        cells = tables.column(table, "label")
        absent = self._absent(set(cells))
        missing = [i for i, label in enumerate(cells) if label in absent]
        if missing:
            self._report_missing(split, name, table, missing)
        counts = Counter(cell for cell in cells if cell not in absent)
        texts = self._texts(counts, f"{name}: {self.label_place}")
        if any(text != cell for cell, text in texts.items()):
            order = table.column_names
            column = [texts.get(cell, "") for cell in cells]
            table = tables.with_column(table.remove_columns("label"), "label", column)
            table = table.select_columns(order)
        return without(table, missing)

    def _absent(self, cells: set[str]) -> set[str]:
        """The cells that stand for no label: empty ones, and the word nan among numbers."""
        words = numerals.are_missing(cells - {""})
        if self.given_kind in ("single", "multi"):
            words -= set(self.given_labels or words)
        return {"", *words}

    def _report_missing(
        self, split: str, name: str | None, table: datasets.Dataset, missing: Sequence[int]
    ) -> None:
        """Notes rows without a label.

        Raises:
            UserError: they are not to be left out, or all rows are such.
        """
        lines = [table["line"][i] for i in missing]
        word = next(filter(None, (table["label"][i] for i in missing)), "")
        what = f"{self._column} has no label" + (f" ({word})" if word else "")
        if self.on_missing_label == "error" or len(missing) == len(table):
            such = f" ({len(missing):,} such: {files.places(lines, 5)})"
            raise UserError(
                f"{files.place(str(name), lines[0])}: {what}{such if len(missing) > 1 else ''};"
                " fill it in, take the rows out, or set data.on_missing_label: skip"
                " (in multi-label data, | stands for no label)"
            )
        self.notes.append(
            f"{split}: {len(missing):,} of {len(table):,} rows left out:"
            f" {what} ({files.places(lines, 3)})"
        )

    def _texts(self, counts: Mapping[str, int], place: str) -> dict[str, str]:
        """Cells as this package writes them: several labels as ``a|b|``, numbers as Python does."""
        told = self.form or self._read_form(counts, place)
        form = label_forms.named(told, self.given_labels, self.label_place)
        texts = {cell: form.text(cell) for cell in counts}
        if self.fold_labels and self.kind != "regression":
            return self._fold(counts, texts)
        return texts

    def _read_form(self, counts: Mapping[str, int], place: str) -> Form:
        """How cells are written, by those of train, or of what is read instead of it."""
        given = self.given_kind
        if given == "auto" and self.given_labels is not None and not self.files["train"]:
            given = "single"
        reading = label_kinds.read(counts, place, given, self.label_separator)
        self.given_kind = reading.kind
        self.notes += reading.notes(counts, self.label_place, told=given == "auto")
        self.form = reading.form
        return reading.form

    def _fold(self, counts: Mapping[str, int], texts: Mapping[str, str]) -> dict[str, str]:
        """Labels in the spelling that is kept, and a note of those that were joined."""
        rows = Counter[str]()
        for cell, count in counts.items():
            rows.update(dict.fromkeys(labels.members(texts[cell], self.kind), count))
        if not self.spellings:
            first = {label: max(rows.values(), default=0) + 1 for label in self.given_labels or ()}
            self.spellings = spelling.folded({**rows, **first})
            groups = spelling.alike(rows)
            if groups:
                self.notes.append(
                    f"labels joined under the first: {spelling.listed(groups, rows)}"
                    " (data.fold_labels)"
                )
        kept = {name: self.spellings.get(spelling.key(name), name) for name in rows}
        kept |= {name: name for name in self.given_labels or ()}
        return {cell: labels.renamed(text, self.kind, kept) for cell, text in texts.items()}

    def save_state(self, folder: Path) -> None:
        """Adds to a run's labels.json how its labels are written."""
        super().save_state(folder)
        if self.form is not None:
            known = records.labels(folder)
            write_json(folder / "labels.json", {**known, "form": self.form._asdict()})

    def load_state(self, folder: Path) -> None:
        """Reads how a run's labels are written; 0.1 knew words, a|b and plain numbers."""
        super().load_state(folder)
        if isinstance(self.label, str):
            known = records.labels(folder).get("form")
            several = Form("joined") if self.given_kind == "multi" else Form()
            self.form = several if known is None else Form(**known)
        self.spellings = {spelling.key(name): name for name in reversed(self.given_labels or [])}

    @property
    def kind(self) -> labels.Kind:
        """Kind of label: as given, or told by train before anything is held out of it."""
        if self.given_kind == "auto" and self.given_labels is not None and not self.files["train"]:
            return "single"
        if self.given_kind == "auto":
            self.load_split("train")
        return cast(labels.Kind, self.given_kind)

    @property
    def _column(self) -> str:
        if isinstance(self.label, str):
            return f"column {self.label}"
        return f"one of the columns {join_limited(self.label)}"

    @property
    def column_names(self) -> dict[str, str]:
        """The user's names of columns that rows as read hold under others, by those."""
        return {"label": self.label} if isinstance(self.label, str) else {}

    @property
    def document_columns(self) -> documents.Columns:
        """Names of the columns of a folder of documents: the label is the name of a folder."""
        named = super().document_columns
        return named._replace(label=self.label) if isinstance(self.label, str) else named

    @property
    def label_place(self) -> str:
        """Where labels are read, in words."""
        if self.files["train"] and self.source_of("train").is_folder:
            return "folders"
        if isinstance(self.label, str):
            return f"column {self.label}"
        return f"columns {join_limited(self.label)}"

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
        is_asked = self.options_given.get("kind", "auto") != "auto"
        names, notes = labels.collect(counts, self.kind, place, self.known_labels, is_asked)
        self.notes += notes
        return list(dict.fromkeys([*self.known_labels, *names]))

    def classes(self, table: datasets.Dataset) -> Sequence[str] | None:
        """Labels of the rows if each has a single one."""
        return tables.column(table, "label") if self.given_kind == "single" else None

    def row_labels(self, table: datasets.Dataset) -> list[list[str]] | None:
        """The classes of each row; None in a regression."""
        if self.kind == "regression":
            return None
        cells = tables.column(table, "label")
        return [list(dict.fromkeys(labels.members(text, self.kind))) for text in cells]

    def row_values(self, table: datasets.Dataset) -> list[float] | None:
        """The number of each row in a regression."""
        if self.kind != "regression":
            return None
        return [float(text) for text in tables.column(table, "label")]

    def duplicate_labels(self, table: datasets.Dataset) -> Sequence[str] | None:
        """Labels of the rows; numbers are left empty, since they may differ for the same input."""
        return [""] * len(table) if self.kind == "regression" else tables.column(table, "label")

    def numbers(self, table: datasets.Dataset, split: str) -> list[Any]:
        """Labels of the rows as numbers.

        Raises:
            UserError: one is not among the labels of train.
        """
        lines, place = tables.column(table, "line"), self.file_of(split)
        values = labels.known_as(tables.column(table, "label"), self.kind, self.labels)
        if self.kind == "regression" and split == "train" and len(set(values)) == 1:
            raise UserError(
                f"{place}: {self.label_place} holds a single number ({values[0]});"
                " there is nothing to learn"
            )
        numbers = labels.encode(values, lines, self.kind, self.labels, place, self.labels_from)
        self.notes += labels.absent(values, self.kind, self.labels, split, self.known_labels)
        return numbers

    def batch_targets(self, numbers: Sequence[Any]) -> dict[str, torch.Tensor]:
        """What a batch holds of its rows' targets.

        Returns:
            ``targets``, see :meth:`targets`; of values also ``target_bits``, see
            :func:`ftlight.models.scale.bits`.
        """
        if self.kind == "regression":
            return {"targets": self.targets(numbers), "target_bits": scale.bits(numbers)}
        return {"targets": self.targets(numbers)}

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
