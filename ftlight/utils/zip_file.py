"""Whether a zip is whole: torch's files of weights are zips with a checksum for each tensor."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ftlight.utils import archives

RATIO = 10  # bytes that a byte may unpack to: weights are hardly smaller if they are packed


def zip_fault(path: Path) -> str:
    """What is wrong with a zip; empty if all checksums in it are right.

    Torch packs nothing; a file that others packed again is sound unless it is a bomb.
    """
    try:
        with zipfile.ZipFile(path) as file:
            total = sum(entry.file_size for entry in file.infolist())
            if total > max(archives.HELD, RATIO * path.stat().st_size):
                return f"it unpacks to more than {RATIO} times its size, as a bomb does"
            damaged = file.testzip()
    except Exception as error:  # whatever a reader of broken bytes raises
        return f"it is not a complete file ({error})"
    return f"the checksum of its part {damaged} is wrong" if damaged else ""
