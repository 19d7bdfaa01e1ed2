"""Folders and sets of files that are never half there: made beside their places, then moved."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator
from pathlib import Path

from ftlight.utils.atomic import left, part_of, remove, sync_list


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Makes a folder beside ``path`` and moves it there once all of it is on the disk.

    On any error it is removed; what a killed process left of one is removed by the next.

    Args:
        path: the folder, which must not exist or be empty.

    Yields:
        The folder to write into.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        # of this name alone: any other *.part where one stands is somebody else's
        if old.is_dir() and left(old):
            remove(old)
    part = part_of(path)
    part.mkdir()
    try:
        yield part
        _sync(part)
        if path.is_dir():
            path.rmdir()
        os.replace(part, path)
        sync_list(path.parent)
    finally:
        remove(part)


@contextlib.contextmanager
def atomic_files(folder: Path, name: str) -> Iterator[Path]:
    """Makes several files that belong together beside their places, then moves each to its own.

    A disk that is full, or a kill, leaves the old ones.

    Args:
        folder: where the files go; it may have some of them.
        name: what they are, for the name of the folder in which they are made.

    Yields:
        The folder to write them to.
    """
    part = part_of(folder / name)
    try:
        part.mkdir()
        yield part
        _sync(part)
        for file in [f for f in sorted(part.rglob("*")) if f.is_file()]:
            place = folder / file.relative_to(part)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)
            sync_list(place.parent)
    finally:
        remove(part)


def _sync(folder: Path) -> None:
    """Writes the files of a folder, and its lists of files if the system can, to the disk."""
    for inside in folder.rglob("*"):
        if inside.is_file():
            with inside.open("rb") as file:
                os.fsync(file.fileno())
        elif inside.is_dir():
            sync_list(inside)
    sync_list(folder)
