"""Claims on the work of a tune, which processes and machines that share its folder divide."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from ftlight.run import folder
from ftlight.utils.errors import UserError, WriteError

WAIT = 0.5  # seconds between two looks at what others do


def claim(home: Path, name: str) -> IO[str] | None:
    """Takes a piece of work for this process, until the file is closed or the process ends.

    Returns:
        None if another process has it.
    """
    place = home / "claims" / name
    place.mkdir(parents=True, exist_ok=True)
    try:
        return folder.lock(place)
    except WriteError:
        raise
    except UserError:
        return None


def claim_run(home: Path, name: str) -> IO[str] | None:
    """Takes a training, unless another process has it or one that outlived its own still trains it.

    Args:
        home: folder of the tune.
        name: name of the folder of its run.
    """
    held = claim(home, name)
    if held is not None and folder.is_locked(home / name):
        held.close()
        return None
    return held
