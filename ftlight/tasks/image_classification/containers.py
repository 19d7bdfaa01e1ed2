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
from typing import NamedTuple

from ftlight.data import files, hub
from ftlight.tasks.image_classification import archives, code_pages, decoding
from ftlight.tasks.image_classification.embedded import Hub, Parquet, embedded
from ftlight.tasks.image_classification.folders import is_image, is_image_start, without_suffix
from ftlight.utils.errors import UserError

MOST = 2**28  # bytes of an image file
START = 16  # bytes that tell an image


class Columns(NamedTuple):
    """Columns of a table of images, and how to read it.

    Attributes:
        image: column of the image, or of its path.
        label: column of the label, or several; None if labels are not needed.
        folder: folder that paths are relative to; the table's own if None.
        encoding: encoding of a text file.
        quotes: how quotation marks are read in CSV and TSV.
    """

    image: str = "image"
    label: str | tuple[str, ...] | None = "label"
    folder: str | None = None
    encoding: str = "utf-8"
    quotes: files.Quotes = "auto"

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
        return files.read(path, self.encoding, self.quotes, self.needed)


class Opened(NamedTuple):
    """An open zip.

    Attributes:
        archive: the zip.
        members: its files by their path, decoded, with ``/``.
        remark: how names were decoded, or nothing.
    """

    archive: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]
    remark: str


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

    def remark(self) -> str:
        """What is to be said about its names: nothing."""
        return ""

    def start(self, name: str) -> bytes:
        """The first bytes of a file; none if it cannot be read."""
        try:
            with (self.path / name).open("rb") as file:
                return file.read(START)
        except OSError:
            return b""

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

    def _open(self) -> Opened:
        """The open zip, one per process: two that share one would move each other's place in it."""
        changed = Path(self.place).expanduser().stat().st_mtime_ns
        return _open_zip(self.place, os.getpid(), changed)

    def names(self) -> list[str]:
        """Paths of all files in it, sorted; hidden ones are left out.

        Raises:
            UserError: there is no such zip.
        """
        files.check(self.place, suffixes=(".zip",))
        return _visible(self._open().members)

    def remark(self) -> str:
        """How names were decoded, if they were."""
        return self._open().remark

    def start(self, name: str) -> bytes:
        """The first bytes of a file; none if it cannot be read."""
        opened = self._open()
        try:
            with opened.archive.open(opened.members[name]) as file:
                return file.read(START)
        except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile):
            return b""

    def read(self, name: str, column: str) -> bytes:
        """The bytes of an image."""
        opened = self._open()
        member = opened.members[name]
        _check_size(member.file_size)
        return opened.archive.read(member)

    @contextlib.contextmanager
    def table(self, name: str) -> Iterator[Path]:
        """A table in it, copied to a file for as long as it is read."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / posixpath.basename(name)
            opened = self._open()
            copy.write_bytes(opened.archive.read(opened.members[name]))
            try:
                yield copy
            except UserError as error:
                raise UserError(str(error).replace(str(copy), f"{self.place}/{name}")) from None

    def digest(self, times: bool) -> str:
        """SHA-256 of the file."""
        return files.sha256(files.check(self.place, suffixes=(".zip",)))


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


def images(container: Folder | Zip, names: Iterable[str]) -> list[str]:
    """Those of the files of a folder or zip that are images: by suffix, else by first bytes."""
    return [
        name
        for name in names
        if is_image(name) or (without_suffix(name) and is_image_start(container.start(name)))
    ]


def is_image_file(place: str) -> bool:
    """Whether a place is a file that is an image."""
    path = Path(place).expanduser()
    if is_image(place) or not without_suffix(place) or not path.is_file():
        return is_image(place)
    return is_image_start(Folder(str(path.parent)).start(path.name))


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
    names = [str(row.get(columns.image)) for row in columns.read(path)]
    return hashlib.sha256((own + root.digest(times, names)).encode()).hexdigest()


def _visible(names: Iterable[str]) -> list[str]:
    """Paths without a hidden part, and without those that macOS and Windows make, sorted."""
    hidden, made = (".", "__MACOSX"), ("thumbs.db", "desktop.ini", "ehthumbs.db")
    return sorted(
        name
        for name in names
        if not any(part != "." and part.startswith(hidden) for part in name.split("/"))
        and not name.lower().endswith(made)
    )


def _check_size(size: int) -> None:
    if size > MOST:
        raise decoding.Bad(f"it is larger than {MOST >> 20} MB")


@functools.lru_cache(8)
def _open_zip(place: str, process: int, changed: int) -> Opened:
    path = Path(place).expanduser()
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{place}: not a readable zip ({error})") from None
    if fault := archives.fault(archive.infolist(), path.stat().st_size):
        archive.close()
        raise UserError(f"{place}: {fault}")
    entries = archive.infolist()
    names, remark = code_pages.names_of(entries, place)
    members = {n: e for n, e in zip(names, entries, strict=True) if not n.endswith("/")}
    return Opened(archive, members, remark)
