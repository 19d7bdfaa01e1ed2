"""Room on the disk for stored activations."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ftlight.utils.atomic import remove_stale


def cache_dir() -> Path:
    """Folder of stored activations: ``$FTLIGHT_CACHE``, or ``~/.cache/ftlight``.

    Raises:
        ValueError: there is no home folder.
    """
    try:
        return Path(os.environ.get("FTLIGHT_CACHE") or "~/.cache/ftlight").expanduser()
    except RuntimeError:
        raise ValueError("there is no home folder to keep it in; set FTLIGHT_CACHE") from None


def evict(folder: Path, needed: int, limit: float, mine: Mapping[Path, int] | None = None) -> str:
    """Deletes the least recently used files until a new one fits.

    Args:
        folder: folder of the files.
        needed: bytes of the new file.
        limit: the most bytes of all files.
        mine: files that this run reads, which stay, and their bytes.

    Returns:
        Why it does not fit, or nothing.
    """
    mine = mine or {}
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(folder)
    size = f"{needed / 1e9:.2g} GB"
    if needed + sum(mine.values()) > limit:
        beside = f" beside {sum(mine.values()) / 1e9:.2g}" if mine else ""
        return f"it would take {size}{beside}; model.cache_gb allows {limit / 1e9:.2g}"
    files = []
    for file in folder.glob("*.bin*"):
        with contextlib.suppress(FileNotFoundError):  # another run deletes, too
            if file.is_file():
                files.append((file.stat().st_mtime, file.stat().st_size, file))
    used = sum(bytes_ for _, bytes_, _ in files)
    for _, bytes_, file in sorted(files, key=lambda entry: entry[:2]):
        if used + needed <= limit:
            break
        if file.suffix == ".bin" and file not in mine:  # not the part that another run is writing
            with contextlib.suppress(OSError):  # another user's, in a folder that is shared
                file.unlink(missing_ok=True)
                used -= bytes_
    if used + needed > limit:
        return (
            f"it would take {size}; other runs are writing {used / 1e9:.2g} GB"
            f" of the {limit / 1e9:.2g} that model.cache_gb allows"
        )
    free = shutil.disk_usage(folder).free
    if free > needed * 1.05:
        return ""
    return f"it would take {size}; {folder} has {free / 1e9:.2g} GB free"


def reserve(part: Path, needed: int, limit: float, mine: Mapping[Path, int] | None = None) -> str:
    """Makes a file of its full size, so that the disk cannot fill up later.

    Args:
        part: the file.
        needed: its bytes.
        limit: the most bytes of all files in its folder.
        mine: files in it that this run reads, which stay, and their bytes.

    Returns:
        Why it cannot be made, or nothing.
    """
    try:
        reason = evict(part.parent, needed, limit, mine)
        if not reason:
            with part.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, needed)
                else:
                    file.truncate(needed)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        return f"{part.parent} cannot be written ({error.strerror})"
    return reason
