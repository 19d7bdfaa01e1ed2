"""Sealed files: they end with a digest of all that they hold, so that no damage goes unseen."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import IO, Any

import xxhash

# 128 bits of XXH3: as fast as memory is read, where SHA-256 takes several times as long. It guards
# against damage, not against a forger, who could change the digest too.
DIGEST = xxhash.xxh3_128
END = struct.Struct("<Q16s8s")  # length of the notes, digest of all before it, MARK
MARK = b"sealed 1"
CHUNK = 1 << 18  # bytes read at once


class Damaged(Exception):
    """A sealed file is not what was written; says what is wrong."""


def seal(file: IO[bytes], key: str, notes: Any = None) -> None:
    """Ends a file with notes and a digest of all that it holds.

    Args:
        file: the file, open for reading and writing.
        key: identifies the content.
        notes: anything that JSON can hold.
    """
    content = file.seek(0, os.SEEK_END)
    text = json.dumps({"key": key, "notes": notes}, ensure_ascii=False).encode()
    file.write(text)
    digest = _digest(file, content + len(text), len(text))
    file.seek(0, os.SEEK_END)
    file.write(END.pack(len(text), digest, MARK))


def unseal(path: Path, key: str) -> tuple[int, Any]:
    """Reads a sealed file whole, and checks that it holds what was written.

    Args:
        path: the file.
        key: what it was sealed with.

    Returns:
        The bytes of its content, and the notes.

    Raises:
        Damaged: it was cut off, changed, or moved from another place.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            raise Damaged("it is empty")
        file.seek(max(0, size - END.size))
        end = file.read()
        if len(end) != END.size or not end.endswith(MARK):
            raise Damaged("its end is missing")
        length, digest, _ = END.unpack(end)
        content = size - END.size - length
        if content < 0 or _digest(file, size - END.size, length) != digest:
            raise Damaged("its checksum is wrong")
        file.seek(content)
        text = json.loads(file.read(length))
    if text["key"] != key:
        raise Damaged("it is another one, renamed")
    return content, text["notes"]


def digest_of(path: Path) -> str:
    """Digest of a file that is not sealed, in hex."""
    with path.open("rb") as file:
        return _digest(file, path.stat().st_size, 0).hex()


def _digest(file: IO[bytes], size: int, length: int) -> bytes:
    """Digest of the first bytes of a file, and of the length of its notes."""
    digest = DIGEST(length.to_bytes(8, "little"))
    file.seek(0)
    while size and (read := file.read(min(size, CHUNK))):
        digest.update(read)
        size -= len(read)
    return digest.digest()
