"""Which files are images."""

from __future__ import annotations

import re

from ftlight.data import files


def is_image(name: str) -> bool:
    """Whether a file is an image, by its suffix."""
    return name.lower().endswith(files.IMAGE_SUFFIXES)


def without_suffix(name: str) -> bool:
    """Whether the name of a file does not tell its format.

    >>> without_suffix("set.1/IMG_12"), without_suffix("a.2024"), without_suffix("readme.txt")
    (True, True, False)
    """
    return not re.search(r"\.[A-Za-z][A-Za-z0-9]{0,4}$", name.rpartition("/")[2])


def is_image_start(start: bytes) -> bool:
    """Whether a file is an image, by its first 16 bytes."""
    if start[:2] == b"BM":
        return start[6:10] == bytes(4)
    return (
        start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*"))
        or (start[:4], start[8:12]) == (b"RIFF", b"WEBP")
        or start[4:12] in (b"jP  \r\n\x87\n", b"ftypavif", b"ftypavis", b"ftypheic", b"ftypmif1")
    )
