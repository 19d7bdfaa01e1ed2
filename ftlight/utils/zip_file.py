"""Whether a zip is whole: torch's files of weights are zips with a checksum for each tensor."""

from __future__ import annotations

import zipfile
from pathlib import Path


def zip_fault(path: Path) -> str:
    """What is wrong with a zip; empty if all checksums in it are right."""
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
    except Exception as error:  # whatever a reader of broken bytes raises
        return f"it is not a complete file ({error})"
    return f"the checksum of its part {damaged} is wrong" if damaged else ""
