"""Paths that a user gave."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ftlight.utils.errors import UserError, first_line, shortened


def user_path(name: str, option: str = "") -> Path:
    """The path of a name, with the folder of a user in place of ``~``; it need not exist.

    Args:
        name: the name.
        option: the option that gives it, for the error.

    Raises:
        UserError: the system cannot look for it: it is too long, holds a NUL, lies in a folder
            that may not be read, or names no user.
    """
    try:
        path = Path(name).expanduser()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()
    except (OSError, RuntimeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else first_line(error)
        before = f"{option}: " if option else ""
        raise UserError(f"{before}{shortened(name)}: {why}") from None
    return path
