"""Atomic files: written beside their target, and moved there once they are on the disk."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ftlight.utils import json_file

# Seconds after which a partial file of another machine's process counts as abandoned.
STALE_AFTER = 3600.0


def part_of(path: Path) -> Path:
    """The partial file that this process writes before it moves it to ``path``."""
    return path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.part")


def left(part: Path) -> bool:
    """Whether the process that wrote a partial file is gone.

    Judged by the process's number on this machine, and by the file's age on another.
    """
    host, _, number = part.name.removesuffix(".part").rpartition(".")
    with contextlib.suppress(OSError):
        # on Windows signal 0 is Ctrl-C
        if not host.endswith(f".{socket.gethostname()}") or os.name == "nt":
            return time.time() - part.stat().st_mtime > STALE_AFTER
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return True
    return False


def remove_stale(folder: Path) -> None:
    """Deletes partial files of processes that are gone."""
    for part in folder.glob("*.part"):
        if left(part):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(path: str | Path, before: Path | None = None) -> Iterator[IO[bytes]]:
    """Writes a file beside ``path`` and moves it there once it is complete and on the disk.

    On any error the old file stays and the partial one is removed.

    Args:
        path: the file.
        before: where to keep the old file; default: nowhere.

    Yields:
        The file to write to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before is not None and path.exists():
            os.replace(path, before)  # a kill right after leaves this one, which is as good
        os.replace(part, path)
        _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Writes a folder's list of files to the disk, if the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, data: Any, indent: int = 1) -> None:
    """Writes JSON atomically; nan and infinity become null."""
    with atomic_write(path) as file:
        file.write((json.dumps(_finite(data), indent=indent, ensure_ascii=False) + "\n").encode())


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {k: _finite(v) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(v) for v in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def read_json(path: Path) -> Any:
    """Reads JSON; an empty mapping if there is no file.

    Raises:
        UserError: it cannot be read, or is no JSON.
    """
    return json_file.read(path, (dict, list)) if json_file.is_there(path) else {}
