"""Folders, and zips that are read in place."""

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

from ftlight.data import files, folders
from ftlight.tasks.image_classification import code_pages, decoding
from ftlight.tasks.image_classification.folders import is_image, is_image_start, without_suffix
from ftlight.utils import archives
from ftlight.utils.errors import UserError

MOST = 2**28  # bytes of an image file
START = 16  # bytes that tell an image


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
        return _visible(folders.walk(self.path))

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
        except archives.UNREADABLE:
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
            try:
                copy.write_bytes(opened.archive.read(opened.members[name]))
            except archives.UNREADABLE as error:
                raise UserError(f"{self.place}/{name}: cannot be read ({error})") from None
            try:
                yield copy
            except UserError as error:
                raise UserError(str(error).replace(str(copy), f"{self.place}/{name}")) from None

    def digest(self, times: bool) -> str:
        """SHA-256 of the file."""
        return files.sha256(files.check(self.place, suffixes=(".zip",)))


def images(container: Folder | Zip, names: Iterable[str]) -> list[str]:
    """Those of the files of a folder or zip that are images: by suffix, else by first bytes."""
    return [
        name
        for name in names
        if is_image(name) or (without_suffix(name) and is_image_start(container.start(name)))
    ]


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
    except archives.UNREADABLE as error:
        raise UserError(f"{place}: not a readable zip ({error})") from None
    if fault := archives.fault(archive.infolist(), path):
        archive.close()
        raise UserError(f"{place}: {fault}")
    entries = archive.infolist()
    names, remark = code_pages.names_of(entries, place)
    members = {n: e for n, e in zip(names, entries, strict=True) if not n.endswith("/")}
    return Opened(archive, members, remark)
