"""The file of a tune's trials, which processes and machines share and no killed writer spoils."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import (
    JournalFileBackend,
    JournalFileOpenLock,
    JournalFileSymlinkLock,
)

from ftlight.utils.atomic import remove, writing

Lock = JournalFileSymlinkLock | JournalFileOpenLock


class Journal(JournalFileBackend):
    """Optuna's journal, but that a torn last line is cut off before the next is written.

    A process that is killed while it writes leaves half a line. Optuna reads past it, appends the
    next line to it, and can never open the file again.

    Args:
        path: the file.
        lock: what keeps others from writing.
    """

    def __init__(self, path: Path, lock: Lock) -> None:
        super().__init__(str(path), lock)
        self.path, self.lock = path, lock

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes lines, all of them to the disk.

        Raises:
            WriteError: it has no room for them.
        """
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        then = "make room; the same command goes on"
        with writing(self.path, then), _held(self.lock), self.path.open("rb+") as file:
            size = whole(file)
            file.truncate(size)
            file.seek(size)
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())


def whole(file: Any) -> int:
    """Size of a file up to the end of its last whole line."""
    end: int = file.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - 4096)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + int(found) + 1
        end = begin
    return 0


@contextmanager
def _held(lock: Lock) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def opened(path: Path) -> Journal:
    """The journal in a file, with a lock that its file system has: links, else new files."""
    return Journal(path, lock_of(path))


def lock_of(path: Path) -> Lock:
    """A lock by symbolic links, which old network file systems have, too; else by new files."""
    probe = path.with_name(f".link-{os.getpid()}")
    try:
        probe.symlink_to(path.name)
    except OSError:
        return JournalFileOpenLock(str(path))
    remove(probe)
    return JournalFileSymlinkLock(str(path))
