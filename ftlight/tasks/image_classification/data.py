"""Images with labels, found, opened once and prepared for a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import datasets
import torch

from ftlight.data import files, folds, tables
from ftlight.data.label_columns import label_text
from ftlight.data.labelled import without
from ftlight.data.module import Columns, EncodedSplit, Reader
from ftlight.tasks.image_classification import augment as augmenting
from ftlight.tasks.image_classification import (
    containers,
    decoding,
    predicting,
    preparing,
    trees,
)
from ftlight.tasks.image_classification import rows as image_rows
from ftlight.tasks.image_classification.batches import ImageBatches, Kept
from ftlight.tasks.image_classification.code_pages import names_of
from ftlight.tasks.image_classification.embedded import embedded
from ftlight.tasks.image_classification.entries import splits
from ftlight.tasks.image_classification.folders import is_image
from ftlight.tasks.image_classification.tables import Entry, from_table
from ftlight.utils import internals
from ftlight.utils.errors import UserError, join_limited
from ftlight.utils.ranges import Gigabytes, Processes, Range


class ImageData(ImageBatches):
    """Images with labels: a folder for each class, a table of paths, Parquet or the hub.

    Folders and tables may be in a zip, which is read in place. Splits that are not given are
    searched in ``train`` (folders or tables named train, val, test).

    Args:
        image: Column of the image, or of its path.
        folder: Folder that the paths of a table are relative to. Default: the table's own.
        image_size: Height and width in pixels that the model sees. Default: the backbone's own.
        augment: Random crops, flips and colour of training images: none, light or strong.
        flip: What augmentation mirrors: horizontal, any (also turns by quarters, for images without
            an up) or none.
        white: Value of 16-bit gray images that is white; 4095 for cameras of 12 bits.
        max_pixels: Most pixels of an image, checked before it is decoded.
        image_check: How images are checked before training: full decodes every one once, header
            only reads its size; the result is cached.
        on_bad_image: What to do with images that cannot be read: error names them, skip leaves them
            out and counts them.
        keep_gb: RAM in GB for caching prepared images that come again: those of validation, and of
            training without augmentation or with model.cache_draws.
        workers: Processes that load batches. Default: none on a CPU, up to 8 for a GPU.
        base: Options of Labelled.
    """

    suffixes = (*files.SUFFIXES, ".zip")
    unit = "images"
    # the content of the folder is in the digest of the table that names its images
    may_change = ImageBatches.may_change | {"keep_gb", "folder"}

    def __init__(
        self,
        train: str | None = None,
        *,
        image: str = "image",
        folder: str | None = None,
        image_size: Annotated[int, Range(least=8, most=4096)] | None = None,
        augment: augmenting.Augment = "light",
        flip: augmenting.Flip = "horizontal",
        white: Annotated[int, Range(least=1, most=65535)] = 65535,
        max_pixels: Annotated[int, Range(least=1, most=decoding.PIXELS)] = 80_000_000,
        image_check: Literal["full", "header"] = "full",
        on_bad_image: Literal["error", "skip"] = "error",
        keep_gb: Gigabytes = 1.0,
        workers: Processes | None = None,
        **base: Any,
    ) -> None:
        super().__init__(train, workers=workers or 0, **base)
        self.image, self.folder, self.image_size = image, folder, image_size
        self.augment, self.flip = augment, flip
        self.varies = augment != "none"  # type: ignore[misc]
        self.white, self.max_pixels = white, max_pixels
        self.full, self.skip = image_check == "full", on_bad_image == "skip"
        self.choose_workers = workers is None
        self.kept: dict[Kept, torch.Tensor] = {}  # images as the model sees them
        self.room = int(keep_gb * 1e9)  # bytes left for them
        self.reading: str | None = None
        self._find_splits()

    @property
    def _columns(self) -> containers.Columns:
        how = self.encoding, self.quotes, self.header
        return containers.Columns(self.image, self.label, self.folder, *how)

    def _find_splits(self) -> None:
        """Takes the splits that are not given from the folder or zip of train, if it has them."""
        train = self.files["train"]
        if train is None or not Path(train).expanduser().exists():
            return
        found = splits(train, self._columns)
        for split in ("validation", "test"):
            if split in found and not self.files[split]:
                self.files[split], self.shares[split] = train, 0.0
                self.notes.append(f"{split}: found in {train}")
        if self.fold is not None:
            folds.check_validation(self.files["validation"])

    @property
    def label_place(self) -> str:
        """Where labels are read, in words."""
        train = self.files["train"]
        return "folders" if train and containers.tree(train) else super().label_place

    @property
    def columns(self) -> list[str]:
        """The column of the image or its path."""
        return [self.image]

    @property
    def image_columns(self) -> list[str]:
        """The column of the image, whose cells may be bytes."""
        return [self.image]

    def texts_of(self, row: files.Row) -> dict[str, str]:
        """None: the path of an image is no text."""
        return {}

    @property
    def column_names(self) -> dict[str, str]:
        """The user's names of columns that rows as read hold under others, by those."""
        return {**super().column_names, "image": self.image}

    @property
    def example(self) -> str:
        """What can follow ``predict RUN``."""
        return "PHOTO.jpg"

    def made_with(self) -> dict[str, str]:
        """The image processor, as text."""
        return {"image processor": self.processor.to_json_string()}

    # Rows

    def digest(self, split: str, name: str) -> str:
        """Identifies the content of a file, whichever of its splits is read."""
        if self.source_of(split).on_hub:
            return super().digest(split, name)
        return containers.digest(name, self._columns)

    def reader(self, split: str) -> Reader:
        """Reader of a split."""
        text = ["image", "label", image_rows.CONTAINER, image_rows.NAME]
        text += [image_rows.FAULT, image_rows.DONE, image_rows.SAME]
        features = datasets.Features(dict.fromkeys([*text, "line"], tables.TEXT))
        source = self.source_of(split)
        stamp = "" if source.on_hub else containers.digest(source.name, self._columns, times=True)
        arguments = {
            "place": source.name,
            "split": split,
            "columns": self._columns,
            "max_pixels": self.max_pixels,
            "white": self.white,
            "full": self.full,
            "stamp": stamp,
            "code": files.code(
                *(decoding.decode, containers.read, embedded, names_of),
                *(is_image, from_table, trees.images, label_text),
            ),
        }
        return image_rows.read_rows, arguments, features

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        """Reads a split; names, or leaves out, the images that cannot be read."""
        table = super()._load(split, name)
        faults = tables.column(table, image_rows.FAULT)
        bad = [i for i, fault in enumerate(faults) if fault]
        if bad:
            named = join_limited((f"{table['image'][i]} ({faults[i]})" for i in bad), 3)
            if not self.skip:
                raise UserError(
                    f"{name}: {len(bad)} of {len(table)} images of {split} cannot be used: {named};"
                    " repair them, take them out, or set data.on_bad_image: skip"
                )
            if len(bad) == len(table):
                raise UserError(
                    f"{name}: none of the {len(table)} images of {split} can be used: {named}"
                )
            self.notes.append(f"{split}: {len(bad)} of {len(table)} images left out: {named}")
        self._note_changes(table, split)
        return without(table.remove_columns([image_rows.FAULT, image_rows.DONE]), bad)

    def _note_changes(self, table: datasets.Dataset, split: str) -> None:
        """Notes what decoding changes in images, such as transparency."""
        counts = Counter[str]()
        for changes in tables.column(table, image_rows.DONE):
            counts.update(filter(None, changes.split("|")))
        if counts:
            changes = join_limited(f"{n:,} {change}" for change, n in counts.most_common())
            self.notes.append(f"{split}: {len(table):,} images, {changes}")

    def duplicate_keys(self, table: datasets.Dataset) -> Sequence[str]:
        """Digests of the files of images."""
        return tables.column(table, image_rows.SAME)

    def read_predict(self, name: str) -> list[files.Row]:
        """The images to predict: one file, all in a folder or zip, or those that a table names."""
        self.reading = name
        rows = predicting.rows_of(name, self._columns)
        if rows is not None:
            return rows
        files.check(name)  # a text file is no document here
        return [predicting.usable(row, name, self._columns) for row in super().read_predict(name)]

    def is_row(self, name: str) -> bool:
        """Whether a file is itself an image."""
        return containers.is_image_file(name)

    def is_place(self, text: str) -> bool:
        """Whether a text is a file or folder to read: it is, since rows are paths too."""
        return True

    def usable(self, row: files.Row) -> files.Row:
        """A row of a split; an image in a folder by a path that can be opened."""
        container = str(row[image_rows.CONTAINER])
        if not isinstance(containers.at(container), trees.Folder):
            return row
        return {**row, "image": str(Path(container) / str(row[image_rows.NAME]))}

    def rows_to_predict(self, split: str, numbers: Sequence[int]) -> list[files.Row]:
        """Rows of a split, which know where their images are."""
        rows = [dict(self.usable(row)) for row in self.rows(split, numbers)]
        return [{**row, self.image: row["image"], files.LINE: row["image"]} for row in rows]

    def unreadable(self, rows: Sequence[files.Row], place: str) -> dict[int, str]:
        """Which images to predict cannot be used, and why."""

        def check(entry: Entry) -> str:
            return image_rows.check(entry, self.image, self.max_pixels, self.white, full=True)[0]

        return predicting.faults(self._entries(rows, place), check)

    def _entries(self, rows: Sequence[files.Row], place: str) -> list[Entry]:
        """Where the images to predict are."""
        listed = place == self.reading
        found = []
        for row in rows:
            if image_rows.CONTAINER in row:  # a row of a split
                where = str(row[image_rows.CONTAINER]), str(row[image_rows.NAME])
                found.append(Entry(*where, str(row["image"]), "", row[files.LINE]))
            else:
                found.append(predicting.entry(row, place, listed, self._columns))
        return found

    # Batches

    @property
    def augmentation(self) -> str:
        """How training images are changed, and the code that does so."""
        how = f"{self.augment} {self.flip} {files.code(augmenting.augment)}"
        return how if self.varies else ""

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Where the images are, and their labels as numbers."""
        columns: Columns = {
            "container": tables.column(table, image_rows.CONTAINER),
            "name": tables.column(table, image_rows.NAME),
            "length": [1] * len(table),
        }
        key = [
            internals.fingerprint_of(table),
            self.processor.to_json_string(),
            self.white,
            files.code(decoding.decode, preparing.pixels),
        ]
        fingerprint = datasets.fingerprint.Hasher.hash(key)
        return EncodedSplit(columns, self.numbers(table, split), fingerprint)

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Where the images to predict are."""
        entries = self._entries(rows, place)
        columns = {
            "container": [entry.container for entry in entries],
            "name": [entry.name for entry in entries],
            "length": [1] * len(rows),
        }
        return EncodedSplit(columns)
