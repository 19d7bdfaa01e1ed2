"""What holds image files: folders, zips that are read in place, Parquet files, hub data sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ftlight.data import files, hub
from ftlight.tasks.image_classification import decoding
from ftlight.tasks.image_classification.embedded import Hub, Parquet, embedded
from ftlight.tasks.image_classification.folders import is_image, is_image_start, without_suffix
from ftlight.tasks.image_classification.trees import Folder, Zip
from ftlight.utils import archives


class Columns(NamedTuple):
    """Columns of a table of images, and how to read it.

    Attributes:
        image: column of the image, or of its path.
        label: column of the label, or several; None if labels are not needed.
        folder: folder that paths are relative to; the table's own if None.
        encoding: encoding of a text file.
        quotes: how quotation marks are read in CSV and TSV.
        header: names of the columns of CSV and TSV without a header.
    """

    image: str = "image"
    label: str | tuple[str, ...] | None = "label"
    folder: str | None = None
    encoding: str = "utf-8"
    quotes: files.Quotes = "auto"
    header: tuple[str, ...] = ()

    @property
    def needed(self) -> list[str]:
        """Columns that a table must have."""
        return [self.image, *self.labels]

    @property
    def labels(self) -> list[str]:
        """Columns of labels."""
        return [self.label] if isinstance(self.label, str) else list(self.label or ())

    def read(self, path: Path) -> Iterator[files.Row]:
        """Yields the rows of a table."""
        return files.read(path, self.encoding, self.quotes, self.needed, self.header)


def at(place: str) -> Folder | Zip | Parquet:
    """The container at a place, by its name."""
    if place.startswith(hub.PREFIX):
        return Hub(place)
    if place.lower().endswith(".zip"):
        return Zip(place)
    return Parquet(place) if place.lower().endswith(".parquet") else Folder(place)


def tree(place: str) -> Folder | Zip | None:
    """The folder or zip at a place; None if it is neither."""
    container = at(place)
    if isinstance(container, Zip) or Path(place).expanduser().is_dir():
        return container if isinstance(container, Zip) else Folder(place)
    return None


def is_image_file(place: str) -> bool:
    """Whether a place is a file that is an image."""
    path = Path(place).expanduser()
    if is_image(place) or not without_suffix(place) or not path.is_file():
        return is_image(place)
    return is_image_start(Folder(str(path.parent)).start(path.name))


def read(place: str, name: str | bytes, column: str) -> bytes:
    """The bytes of an image file.

    Args:
        place: folder, zip, Parquet file or hub data set.
        name: its path there, or the number of its row; or these bytes themselves.
        column: column of images, if there are rows.

    Raises:
        Bad: it cannot be read; says why.
    """
    if isinstance(name, bytes):
        return name
    try:
        return at(place).read(name, column)
    except (FileNotFoundError, KeyError):
        raise decoding.Bad("no such file") from None
    except archives.UNREADABLE as error:
        why = getattr(error, "strerror", None) or error
        raise decoding.Bad(f"it cannot be read ({why})") from None


def digest(place: str, columns: Columns, times: bool = False) -> str:
    """Identifies the images of a file: its own digest, with that of the files a table names.

    Args:
        place: folder, zip, Parquet file or table of paths.
        columns: columns of a table.
        times: whether times of change count: for caches, but not for a run, whose data may be
            copied.
    """
    container = tree(place)
    if container is not None:
        return container.digest(times)
    own = files.sha256(files.check(place, suffixes=(*files.SUFFIXES, ".zip")))
    if embedded(place, columns.image):
        return own
    path = Path(place).expanduser()
    root = Folder(columns.folder or str(path.parent))
    names = [str(row.get(columns.image)) for row in columns.read(path)]
    return hashlib.sha256((own + root.digest(times, names)).encode()).hexdigest()
