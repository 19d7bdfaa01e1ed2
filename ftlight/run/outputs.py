"""Where verbs write what they make of a run, which may lie where nothing can be written."""

from __future__ import annotations

import os
from pathlib import Path

from ftlight.utils.errors import UserError


def home(run: Path) -> Path:
    """The folder for what is made of a run: the run itself, if it can be written.

    Otherwise a folder of its name where one stands, with the same files in it: a run may be
    finished and on a disk that is only read, or of another user.
    """
    return run if is_writable(run) else Path.cwd() / f"{run.name}-results"


def is_writable(path: Path) -> bool:
    """Whether a file or folder can be made at a path, by the folder that is there to hold it."""
    holder = path
    while not holder.exists() and holder != holder.parent:
        holder = holder.parent
    return holder.is_dir() and os.access(holder, os.W_OK | os.X_OK)


def check(path: Path) -> None:
    """Refuses a file that could not be written, before the work that fills it.

    Raises:
        UserError: it is a folder or a device, or its folder cannot be written.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is there and is no file; give a file with --out F")
    if not is_writable(path.parent):
        raise closed(path)


def closed(path: Path) -> UserError:
    """The error for a place where nothing can be written."""
    return UserError(f"{path} cannot be written; give a place that can with --out")
