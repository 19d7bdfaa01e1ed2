"""Atomic files: written beside their target, and moved there once they are on the disk."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ftlight.utils import json_file
from ftlight.utils.errors import UserError, WriteError, first_line

# Seconds after which a partial file of another machine's process counts as abandoned.
STALE_AFTER = 3600.0
# Containers may share a machine's name, and each counts its processes from 1.
TOKEN = os.urandom(4).hex()
PART = re.compile(r"\.(?P<host>[^/]+)\.(?P<process>\d+)(-(?P<token>[0-9a-f]{8}))?\.part")


def part_of(path: Path) -> Path:
    """The partial file that this process writes before it moves it to ``path``."""
    return path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}-{TOKEN}.part")


def left(part: Path) -> bool:
    """Whether a file is a partial one, and the process that wrote it is gone.

    Judged by the process's number on this machine, and by the file's age on another.
    """
    name = PART.search(part.name)
    if name is None:
        return False
    number = int(name["process"])
    elsewhere = not f".{name['host']}".endswith(f".{socket.gethostname()}")
    another = number == os.getpid() and name["token"] != TOKEN  # one before, or in a container
    with contextlib.suppress(OSError):
        # on Windows signal 0 is Ctrl-C
        if elsewhere or another or os.name == "nt":
            return time.time() - part.stat().st_mtime > STALE_AFTER
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return True
    return False


def remove_stale(folder: Path) -> None:
    """Deletes partial files and folders of processes that are gone."""
    for part in folder.glob("*.part"):
        if left(part):
            with contextlib.suppress(OSError):  # another user's, in a folder that is shared
                remove(part)


def remove(part: Path) -> None:
    """Deletes a partial file or folder, if it is there."""
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)


def why_unwritten(error: BaseException) -> str:
    """Why something could not be written; empty for an error of another kind.

    >>> why_unwritten(OSError(28, "No space left on device")), why_unwritten(ValueError("x"))
    ('No space left on device', '')
    >>> why_unwritten(Exception("Error while serializing: I/O error: what (os error 28)"))
    'No space left on device'
    """
    if isinstance(error, OSError) and error.errno:  # those of transformers have no number
        return error.strerror or first_line(error)
    if "unexpected pos" in str(error):  # all that torch's writer says of it
        return "the disk is full, or files may not grow so large"
    # writers in Rust raise errors of their own: tokenizers, safetensors
    number = re.search(r"\(os error (\d+)\)", str(error))
    return os.strerror(int(number[1])) if number else ""


@contextlib.contextmanager
def writing(what: str | Path, then: str = "") -> Iterator[None]:
    """Turns an error of writing into one line.

    Args:
        what: what is written.
        then: what to do about it, if anything but to make room.

    Raises:
        WriteError: it cannot be written.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        why = why_unwritten(error)
        if not why:
            raise
        raise WriteError(f"{what} cannot be written: {why}{then and '; '}{then}") from error


@contextlib.contextmanager
def atomic_write(path: str | Path, before: Path | None = None) -> Iterator[IO[bytes]]:
    """Writes a file beside ``path`` and moves it there once it is complete and on the disk.

    On any error the old file stays and the partial one is removed.

    Args:
        path: the file.
        before: where to keep the old file; default: nowhere.

    Yields:
        The file to write to; it can be read too.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        with part.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before is not None and path.exists():
            os.replace(path, before)  # a kill right after leaves this one, which is as good
        os.replace(part, path)
        sync_list(path.parent)
    finally:
        part.unlink(missing_ok=True)


def append(path: Path, text: str, head: str, sync: bool = False) -> None:
    """Appends lines to a file, all of them or none.

    An empty file gets a head first. Half a line at the end, which a crash of the machine may
    leave, is taken away.

    Args:
        path: the file.
        text: whole lines; without any only what is there is put on the disk.
        head: the line that the file begins with.
        sync: whether to wait until they are on the disk.

    Raises:
        OSError: they cannot be written.
    """
    if not text and not path.exists():
        return
    with path.open("a+b", buffering=0) as file:
        size = _whole_lines(file)
        file.truncate(size)
        data = ((head if text and not size else "") + text).encode()
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            file.truncate(size)
            raise
        if sync:
            os.fsync(file.fileno())


def _whole_lines(file: io.FileIO) -> int:
    """Size of a file up to the end of its last whole line."""
    end = file.seek(0, os.SEEK_END)
    while end:
        begin = file.seek(max(0, end - 4096))
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def sync_list(folder: Path) -> None:
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
