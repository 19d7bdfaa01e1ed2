"""What packed files may unpack to; checks of zips: links, bombs, names that lead out."""

from __future__ import annotations

import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

ENTRIES = 10_000_000  # files of a zip
TOTAL = 2**42  # bytes of all its files together
# What the reader of zips raises: permission, password, method of compression, broken bytes.
UNREADABLE = (
    *(OSError, RuntimeError, NotImplementedError, ValueError, EOFError, struct.error),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
RATIO, SMALL = 100, 2**32  # bytes that a byte may unpack to, if all of it is more than SMALL
WAY = "; if it is none, set data.max_bytes to what it may unpack to"
BOMB = f"unpacks to more than {RATIO} times its size, as a bomb does{WAY}"
HELD = 2**28  # bytes up to which any ratio will do if they are all held in memory
_permitted = [0]  # bytes that the user lets any file unpack to


def permit(most: int | None) -> None:
    """Lets files unpack to so many bytes in this process, as its user says (data.max_bytes)."""
    _permitted[0] = max(_permitted[0], most or 0)


def most(path: Path, small: int | None = None) -> int:
    """The most bytes that a file may unpack to.

    Args:
        path: the file.
        small: bytes up to which any ratio will do. Default: SMALL.
    """
    return max(_permitted[0], small or SMALL, RATIO * path.stat().st_size)


def fault(
    entries: Sequence[zipfile.ZipInfo], path: Path, small: int | None = None, way: str = WAY
) -> str | None:
    """What is wrong with a zip, or None.

    A single file is bounded where it is read; what counts here is the whole.

    Args:
        entries: its entries.
        path: the zip itself.
        small: bytes of all its files together up to which any ratio will do. Default: SMALL.
        way: the way out for one that is no bomb.
    """
    if len(entries) > ENTRIES:
        return f"it has {len(entries):,} files, more than {ENTRIES:,}; divide it"
    total, packed = sum(e.file_size for e in entries), sum(e.compress_size for e in entries)
    size = path.stat().st_size
    if packed > size:
        return "its files overlap, as those of a zip bomb do"
    if total > TOTAL:
        return f"its files are {total >> 30:,} GB unpacked, more than {TOTAL >> 30:,}; divide it"
    if total > most(path, small):
        return (
            f"its files are {total // max(1, size):,} times as large unpacked, as those of a zip"
            f" bomb are{way}"
        )
    return next(filter(None, map(_entry_fault, entries)), None)


def _entry_fault(entry: zipfile.ZipInfo) -> str | None:
    parts = re.split(r"[\\/]", entry.filename)
    if parts[0] == "" or re.fullmatch(r"[A-Za-z]:", parts[0]) or ".." in parts:
        return f"{entry.filename!r} in it leads out of it; make it with names below one folder"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "link" if kind == stat.S_IFLNK else "device"
        return f"{entry.filename!r} in it is a {what}, no file; make it with the files themselves"
    return None
