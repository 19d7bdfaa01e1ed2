"""Checks of zips, which are read in place: links, bombs, names that lead out."""

from __future__ import annotations

import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence

ENTRIES = 10_000_000  # files of a zip
TOTAL = 2**42  # bytes of all its files together
# What the reader of zips raises: permission, password, method of compression, broken bytes.
UNREADABLE = (
    *(OSError, RuntimeError, NotImplementedError, ValueError, EOFError, struct.error),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
RATIO, SMALL = 200, 2**30  # bytes that a byte may unpack to, if all files are more than SMALL


def fault(entries: Sequence[zipfile.ZipInfo], size: int) -> str | None:
    """What is wrong with a zip, or None.

    A single file is bounded where it is read; what counts here is the whole.

    Args:
        entries: its entries.
        size: bytes of the zip itself.
    """
    if len(entries) > ENTRIES:
        return f"it has {len(entries):,} files, more than {ENTRIES:,}; divide it"
    total, packed = sum(e.file_size for e in entries), sum(e.compress_size for e in entries)
    if packed > size:
        return "its files overlap, as those of a zip bomb do"
    if total > TOTAL:
        return f"its files are {total >> 30:,} GB unpacked, more than {TOTAL >> 30:,}; divide it"
    if total > SMALL and total > RATIO * size:
        return (
            f"its files are {total // max(1, size):,} times as large unpacked, as those of a zip"
            " bomb are; images do not shrink so much"
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
