"""Splits of a data set: read once through the cache, held out of train, drawn in shots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import datasets
import numpy as np

from ftlight.data import documents, duplicates, files, folds, holding, hub, tables
from ftlight.data.delimited import Quotes
from ftlight.data.loaders import Loaders
from ftlight.data.remarks import collected
from ftlight.data.sources import Source
from ftlight.data.tables import Columns
from ftlight.utils import internals
from ftlight.utils.errors import UserError
from ftlight.utils.paths import user_path

HELD_OUT = "of train held out (data."
Reader = tuple[Callable[..., Iterator[files.Row]], dict[str, Any], datasets.Features]


class Splits(Loaders):
    """The part of :class:`ftlight.DataModule` that reads splits.

    Attributes:
        files: file of each split, or None.
        shares: share of train to hold out for validation and test.
        split_seed: seed of the shares held out and the shots.
        shots: rows of each class to train on, or None for all.
        train_rows: rows to train on, or None for all.
        fold: number of the fold of train that is validation data, and of all; None without folds.
        encoding: encoding of text files.
        quotes: how quotation marks are read in CSV and TSV.
        header: names of the columns of CSV and TSV without a header.
        notes: lines about the data, for the screen.
        digests: what identifies the content of each split that was read.
        dropped: numbers of rows that are taken out of train.
    """

    suffixes: ClassVar[tuple[str, ...]] = files.SUFFIXES  # of the files that the class reads
    files: dict[str, str | None]
    shares: dict[str, float]
    split_seed: int
    shots: int | None
    train_rows: int | None
    fold: tuple[int, int] | None
    dropped: Sequence[int]
    encoding: str
    quotes: Quotes
    header: tuple[str, ...]
    notes: list[str]
    digests: dict[str, str]
    _raw: dict[str, datasets.Dataset]

    def reader(self, split: str) -> Reader:
        """The generator function of a split's rows, its arguments, and the features of the rows.

        The function is one of a module, and its rows depend on nothing but its arguments: together
        they are the key of the cache.
        """
        raise NotImplementedError

    def classes(self, table: datasets.Dataset) -> Sequence[str] | None:
        """The class of each row, for stratified splits and shots; None without classes."""
        return None

    def groups(self, table: datasets.Dataset) -> Sequence[str] | None:
        """The group of each row: a group is held out as a whole; None without groups."""
        return None

    def row_texts(self, table: datasets.Dataset) -> Sequence[Sequence[str]] | None:
        """The texts of each row's input, a sequence a part such as question and context.

        Rows that are nearly the same in each part are found by them; None if inputs are no texts.
        """
        return None

    def row_labels(self, table: datasets.Dataset) -> Sequence[Sequence[str]] | None:
        """The classes of each row; None without classes."""
        return None

    def row_values(self, table: datasets.Dataset) -> Sequence[float] | None:
        """The number that is learned of each row; None if it is none."""
        return None

    def duplicate_keys(self, table: datasets.Dataset) -> Sequence[str] | None:
        """A key of each row's input, to find rows that occur twice; "" equals no other."""
        parts = self.row_texts(table)
        return None if parts is None else list(map(duplicates.key, *parts))

    def duplicate_labels(self, table: datasets.Dataset) -> Sequence[Any] | None:
        """A value of each row on which rows with the same input should agree; None if none."""
        return None

    def digest(self, split: str, name: str) -> str:
        """Identifies the content of a split."""
        return self.source_at(name, split).digest()

    def has(self, split: str) -> bool:
        """Whether there is such a split: a file of its own or a share of train."""
        held_out = bool(self.files["train"]) and self.shares.get(split, 0) > 0
        return bool(self.files[split]) or held_out

    def source_of(self, split: str) -> Source:
        """Where the rows of a split are read."""
        return self.source_at(str(self.files[split]), split)

    def source_at(self, name: str, split: str = "") -> Source:
        """A file, or a split of a hub data set, read as the options say."""
        return Source(
            *(name, split, self.encoding, self.suffixes),
            quotes=self.quotes,
            header=self.header,
            document=self.document_columns,
        )

    @property
    def document_columns(self) -> documents.Columns:
        """Names of the columns of a folder of documents: those that rows are read from."""
        return documents.COLUMNS

    def place_type(self, split: str) -> datasets.Value:
        """Type of the places of rows: numbers of lines, or names such as a document's path."""
        return tables.TEXT if self.source_of(split).names_rows else tables.NUMBER

    def find_splits(self) -> None:
        """Takes the splits that are not given from the folder of documents of train."""
        train = self.files["train"]
        if not train or not self.source_of("train").is_folder:
            return
        for split in documents.splits(user_path(train)):
            if not self.files[split]:
                self.files[split], self.shares[split] = train, 0.0
                self.notes.append(f"{split}: found in {train}")
        if self.fold is not None:
            folds.check_validation(self.files["validation"])

    def file_of(self, split: str) -> str:
        """The file that holds the rows of a split: its own, or that of train."""
        return str(self.files[split] or self.files["train"])

    def train_tables(self) -> list[datasets.Dataset]:
        """The rows of train and of the shares held out of it."""
        self.load_split("train")
        return [t for s, t in self._raw.items() if s == "train" or not self.files[s]]

    def load_split(self, split: str) -> datasets.Dataset:
        """The rows of a split as read, memory-mapped.

        Raises:
            UserError: the data cannot be read, or the split is not given.
        """
        if split in self._raw:
            return self._raw[split]
        name = self.files[split]
        if name or split == "train":
            self._raw[split] = self._load(split, name)
        elif self.has(split):
            self.load_split("train")
        else:
            raise UserError(
                f"no {split} data: give data.{split},"
                f" or data.{split}_split to hold out a share of train"
            )
        if split == "train":
            self._hold_out()
            self._draw_shots()
            self._draw_rows()
            if self.dropped:
                self._drop()
        return self._raw[split]

    def hold_out(self, share: float) -> None:
        """Holds another share of train out for validation than what was asked for.

        Args:
            share: the share.
        """
        self.shares["validation"] = self.options_given["validation_split"] = share
        for split in [s for s in self._raw if s == "train" or not self.files[s]]:
            del self._raw[split]  # they are read again, from the cache
        self.notes = [note for note in self.notes if HELD_OUT not in note]

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        """Reads a split through the cache."""
        if not name:
            raise UserError(f"no {split} data: give data.{split}: FILE")
        self.digests[split] = self.digest(split, name)
        function, arguments, features = self.reader(split)
        own = files.code(Source, hub.read_hub, tables.cached_table)
        code = f"{own} {files.code_of_readers()} {files.package_code(function)}"
        content = f"{self.digests[split]} {code}"
        key = datasets.fingerprint.Hasher.hash(
            [function.__module__, function.__qualname__, arguments, content, features]
        )
        with collected() as remarks:
            table = tables.cached_table(
                key,
                lambda: tables.gathered(
                    _placed(function(**arguments, digest=content), features), list(features)
                ),
                features,
            )
        self.notes += [line for line in remarks if line not in self.notes]
        return table

    def _hold_out(self) -> None:
        """Moves shares of train to the splits that have no data of their own."""
        for split in ("test", "validation"):
            share = self.shares[split]
            if self.files[split] or not share:
                continue
            table = self._raw["train"]
            if split == "validation" and self.fold is not None:
                kept, held = self._take_fold(table, *self.fold)
                self._raw["train"], self._raw[split] = table.select(kept), table.select(held)
                continue
            groups = self.groups(table)
            if groups is None:
                classes = self.classes(table)
                kept, held = holding.hold_out(classes, len(table), share, self.split_seed)
            else:
                kept, held = holding.hold_out_groups(groups, share, self.split_seed)
            if len(held) == 0 or len(kept) == 0:
                raise UserError(
                    f"data.train has {len(table)} rows,"
                    f" too few to hold out data.{split}_split: {share}"
                )
            self._raw["train"], self._raw[split] = table.select(kept), table.select(held)
            self.notes.append(f"no {split} data given: {share:.0%} {HELD_OUT}{split}_split)")

    def _take_fold(
        self, table: datasets.Dataset, fold: int, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows to train on, and those of a fold.

        Raises:
            UserError: there are too few rows, or a class has none outside of a fold.
        """
        rows = folds.Rows(
            len(table),
            # a row and its repeats say nothing of each other
            self.groups(table) or self.duplicate_keys(table),
            self.classes(table),
            self.row_labels(table),
            self.row_values(table),
        )
        of = rows.folds(count, self.split_seed, self.file_of("validation"))
        held = np.flatnonzero(of == fold)
        self.notes += rows.notes(count)
        self.notes.append(f"validation: {len(held)} rows of train, fold {fold} of 0 to {count - 1}")
        return np.flatnonzero(of != fold), held

    def _draw_shots(self) -> None:
        """Keeps a few rows of each class of train."""
        if self.shots is None:
            return
        table = self._raw["train"]
        classes = self.classes(table)
        if classes is None:
            raise UserError(
                "data.shots: rows have no single class each, so none can be drawn by class"
            )
        drawn = holding.shots(classes, self.shots, self.split_seed)
        small = sum(count < self.shots for count in Counter(classes).values())
        self._raw["train"] = table.select(drawn)
        less = f" (of {small} all, which is less)" if small else ""
        self.notes.append(
            f"{len(drawn)} rows of train drawn, {self.shots} of each class{less} (data.shots)"
        )
        if not self.files["validation"]:
            self.notes.append(
                "nothing is held out for validation: the weights at the end are kept (data.shots)"
            )

    def drawing(self, table: datasets.Dataset, seed: int) -> np.ndarray:
        """An order of the rows of train whose first so many are a draw of them."""
        return holding.nested(self.classes(table), len(table), seed)

    def _draw_rows(self) -> None:
        """Keeps as many rows of train as are asked for."""
        table, count = self._raw["train"], self.train_rows
        if count is None or count >= len(table):
            return
        drawn = np.sort(self.drawing(table, self.split_seed)[:count])
        self._raw["train"] = table.select(drawn)
        self.notes.append(f"{count:,} of {len(table):,} rows of train drawn (data.train_rows)")

    def map_cached(
        self, table: datasets.Dataset, function: Callable[[Columns], Columns], *key: Any
    ) -> datasets.Dataset:
        """A table made of another in batches, cached and memory-mapped.

        Args:
            table: rows as read.
            function: makes the new columns of a batch of rows.
            key: what the result depends on beside the table and the function's source file.
        """
        code = files.code(function, tables.cached_table)
        mark = datasets.fingerprint.Hasher.hash([internals.fingerprint_of(table), code, *key])
        return tables.cached_table(mark, lambda: map(function, tables.batches(table)))

    def _drop(self) -> None:
        """Takes the rows out of train that are to be dropped.

        Raises:
            UserError: none is left.
        """
        kept = np.setdiff1d(np.arange(len(self._raw["train"])), self.dropped)
        if not len(kept):
            raise UserError(
                "all rows of data.train are in validation or test too: data.on_leak: drop leaves"
                " none"
            )
        self._raw["train"] = self._raw["train"].select(kept)


def _placed(rows: Iterator[files.Row], features: datasets.Features) -> Iterator[files.Row]:
    """Rows with their places as text if some may be none of a line."""
    as_text = features.get("line") == tables.TEXT
    return ({**row, "line": str(row["line"])} for row in rows) if as_text else rows
