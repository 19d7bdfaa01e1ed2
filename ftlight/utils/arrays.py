"""Files of numpy's arrays, as runs keep them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ftlight.utils import archives
from ftlight.utils.errors import UserError


def read(path: Path, remedy: str) -> dict[str, np.ndarray]:
    """Reads the arrays of an ``.npz``; none of them is an object, which could be code.

    Args:
        path: the file.
        remedy: what to do if it is damaged.

    Raises:
        UserError: it is damaged, or unpacks to more than it may.
    """
    try:
        with zipfile.ZipFile(path) as file:
            fault = archives.fault(file.infolist(), path, archives.HELD, way="")
        if fault is None:
            with np.load(path, allow_pickle=False) as kept:
                return {name: kept[name] for name in kept.files}
    except Exception as error:  # whatever zipfile and numpy raise on broken bytes
        raise UserError(f"{path} is damaged; {remedy}") from error
    raise UserError(f"{path}: {fault}; {remedy}")
