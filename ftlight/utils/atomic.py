"""Files that are either whole or not there: written beside their place, and moved there once they are on the disk."""

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

LEFT = 3600.0  # seconds after which the part of another machine's process counts as left behind


def part_of(path: Path) -> Path:
    """Where this process writes a file before it takes its place."""
    return path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.part")


def left(part: Path) -> bool:
    """Whether a part was left by a process that is no more: told by its number on this machine, by its age on another."""
    host, _, number = part.name.removesuffix(".part").rpartition(".")
    with contextlib.suppress(OSError):
        if (
            not host.endswith(f".{socket.gethostname()}") or os.name == "nt"
        ):  # where this signal would be Ctrl-C
            return time.time() - part.stat().st_mtime > LEFT
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return True
    return False


def remove_stale(folder: Path) -> None:
    """Deletes parts that processes left which are no more."""
    for part in folder.glob("*.part"):
        if left(part):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(path: str | Path, before: Path | None = None) -> Iterator[IO[bytes]]:
    """Writes a file beside ``path`` and moves it there once it is whole and on the disk.

    On any error the old file stays and the part is removed.

    Args:
        path: the file.
        before: where the old file is kept, if anywhere.
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
            os.replace(path, before)  # a kill between the two leaves this one, which is as good
        os.replace(part, path)
        _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Puts the names of a folder's files on the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, data: Any, indent: int = 1) -> None:
    """Writes JSON in one piece; nan and infinity become null."""
    with atomic_write(path) as file:
        file.write((json.dumps(_finite(data), indent=indent, ensure_ascii=False) + "\n").encode())


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {k: _finite(v) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(v) for v in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def read_json(path: Path) -> Any:
    """Reads JSON, or gives an empty mapping where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
