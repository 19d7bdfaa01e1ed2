"""What holds image files: folders, zips that are read in place, Parquet files, hub data sets."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import posixpath
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.data import files, hub
from ftlight.tasks.image_classification import archives, decoding
from ftlight.utils.errors import UserError

MOST = 2**28  # bytes of an image file


class Columns(NamedTuple):
    """Columns of a table of images, and how to read it.

    Attributes:
        image: column of the image, or of its path.
        label: column of the label, or several; None if labels are not needed.
        folder: folder that paths are relative to; the table's own if None.
        encoding: encoding of a text file.
    """

    image: str = "image"
    label: str | tuple[str, ...] | None = "label"
    folder: str | None = None
    encoding: str = "utf-8"

    @property
    def needed(self) -> list[str]:
        """Columns that a table must have."""
        return [self.image, *self.labels]

    @property
    def labels(self) -> list[str]:
        """Columns of labels."""
        return [self.label] if isinstance(self.label, str) else list(self.label or ())


class Folder:
    """Files below a folder.

    Args:
        place: the folder.
    """

    def __init__(self, place: str) -> None:
        self.place, self.path = place, Path(place).expanduser()

    def names(self) -> list[str]:
        """Paths of all files below it, sorted, with ``/``; hidden ones are left out."""
        seen, names = set(), []
        for folder, below, inside in os.walk(self.path, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:  # a link to a folder above would go round for ever
                below.clear()
            seen.add(real)
            names += [(Path(folder) / n).relative_to(self.path).as_posix() for n in inside]
        return _visible(names)

    def read(self, name: str, column: str) -> bytes:
        """The bytes of an image."""
        path = self.path / name
        _check_size(path.stat().st_size)
        return path.read_bytes()

    @contextlib.contextmanager
    def table(self, name: str) -> Iterator[Path]:
        """A table in it, as a file."""
        yield self.path / name

    def digest(self, times: bool, names: Iterable[str] | None = None) -> str:
        """Identifies its files, or some of them, by names, sizes and, if asked, times of change."""
        digest = hashlib.sha256()
        for name in self.names() if names is None else names:
            try:
                stat = (self.path / name).stat()
                changed = stat.st_mtime_ns if times else ""
                digest.update(f"{name}\0{stat.st_size}\0{changed}\n".encode())
            except (OSError, ValueError):
                digest.update(f"{name}\0missing\n".encode())
        return digest.hexdigest()


class Zip:
    """Files in a zip, read in place.

    Args:
        place: the zip.
    """

    def __init__(self, place: str) -> None:
        self.place = place

    def _open(self) -> zipfile.ZipFile:
        """The open zip, one per process: two that share one would move each other's place in it."""
        changed = Path(self.place).expanduser().stat().st_mtime_ns
        return _open_zip(self.place, os.getpid(), changed)

    def names(self) -> list[str]:
        """Paths of all files in it, sorted; hidden ones are left out.

        Raises:
            UserError: there is no such zip.
        """
        files.check(self.place, suffixes=(".zip",))
        return _visible([i.filename for i in self._open().infolist() if not i.is_dir()])

    def read(self, name: str, column: str) -> bytes:
        """The bytes of an image."""
        archive = self._open()
        _check_size(archive.getinfo(name).file_size)
        return archive.read(name)

    @contextlib.contextmanager
    def table(self, name: str) -> Iterator[Path]:
        """A table in it, copied to a file for as long as it is read."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / posixpath.basename(name)
            copy.write_bytes(self._open().read(name))
            try:
                yield copy
            except UserError as error:
                raise UserError(str(error).replace(str(copy), f"{self.place}/{name}")) from None

    def digest(self, times: bool) -> str:
        """SHA-256 of the file."""
        return files.sha256(files.check(self.place, suffixes=(".zip",)))


class Parquet:
    """Rows of a Parquet file that hold the images themselves, each named by its row number.

    Args:
        place: the file.
    """

    def __init__(self, place: str) -> None:
        self.place = place

    def rows(self) -> Any:
        """The table, with images as they are stored."""
        return _parquet_rows(self.place, Path(self.place).expanduser().stat().st_mtime_ns)

    def read(self, name: str, column: str) -> bytes:
        """The bytes of an image."""
        value = self.rows()[int(name)][column]
        return (value["bytes"] if isinstance(value, dict) else value) or b""

    def digest(self, times: bool) -> str:
        """SHA-256 of the file."""
        return files.sha256(files.check(self.place))


class Hub(Parquet):
    """Rows of a split of a hub data set, named ``hf:NAME#SPLIT``."""

    def rows(self) -> Any:
        """The table, with images as they are stored."""
        return _hub_rows(self.place)


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


def read(place: str, name: str, column: str) -> bytes:
    """The bytes of an image file.

    Args:
        place: folder, zip, Parquet file or hub data set.
        name: its path there, or the number of its row.
        column: column of images, if there are rows.

    Raises:
        Bad: it cannot be read; says why.
    """
    try:
        return at(place).read(name, column)
    except (FileNotFoundError, KeyError):
        raise decoding.Bad("no such file") from None
    except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        # permission, password, method of compression, checksum
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
    names = [str(row.get(columns.image)) for row in files.read(path, columns.encoding)]
    return hashlib.sha256((own + root.digest(times, names)).encode()).hexdigest()


def embedded(place: str, image: str) -> bool:
    """Whether a Parquet file holds the images themselves, not paths."""
    if not place.lower().endswith(".parquet"):
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(Path(place).expanduser())
    except (pa.ArrowException, OSError):
        return False  # the reader says what is wrong with it
    kind = schema.field(image).type if image in schema.names else pa.string()
    return pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _visible(names: Iterable[str]) -> list[str]:
    """Paths without a hidden part (or that of macOS), sorted."""
    hidden = (".", "__MACOSX")
    return sorted(
        name
        for name in names
        if not any(part != "." and part.startswith(hidden) for part in name.split("/"))
    )


def _check_size(size: int) -> None:
    if size > MOST:
        raise decoding.Bad(f"it is larger than {MOST >> 20} MB")


@functools.lru_cache(8)
def _open_zip(place: str, process: int, changed: int) -> zipfile.ZipFile:
    path = Path(place).expanduser()
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{place}: not a readable zip ({error})") from None
    if fault := archives.fault(archive.infolist(), path.stat().st_size):
        archive.close()
        raise UserError(f"{place}: {fault}")
    return archive


@functools.lru_cache(4)
def _parquet_rows(place: str, changed: int) -> Any:
    import datasets

    return _undecoded(datasets.Dataset.from_parquet(str(Path(place).expanduser())))


@functools.lru_cache(4)
def _hub_rows(place: str) -> Any:
    name, _, split = place.rpartition("#")
    return _undecoded(hub.load_split(name, split))


def _undecoded(table: Any) -> Any:
    """A table that gives images as they are stored."""
    import datasets

    for column, feature in table.features.items():
        if isinstance(feature, datasets.Image):
            table = table.cast_column(column, datasets.Image(decode=False))
    return table
