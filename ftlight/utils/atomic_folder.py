"""A folder that is never half there: made beside its place, and moved there when it is whole."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ftlight.utils.atomic import left, part_of


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
        if old.name.split(".")[-2].isdigit() and left(old):
            shutil.rmtree(old, ignore_errors=True)
    part = part_of(path)
    part.mkdir()
    try:
        yield part
        _sync(part)
        if path.is_dir():
            path.rmdir()
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Writes the files of a folder, and its lists of files if the system can, to the disk."""
    for inside in folder.rglob("*"):
        if inside.is_file():
            with inside.open("rb") as file:
                os.fsync(file.fileno())
    for listed in (*(p for p in folder.rglob("*") if p.is_dir()), folder):
        with contextlib.suppress(OSError):
            handle = os.open(listed, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
