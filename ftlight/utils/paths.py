"""Paths that a user gave, and places of rows in files."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from ftlight.utils.errors import UserError, first_line, join_limited, shortened


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


def place(name: str, line: int | str) -> str:
    """Where a row was read: its line in a file, or its document in a folder.

    >>> place("a.csv", 3), place("letters", "2024/a.txt")
    ('a.csv:3', 'letters/2024/a.txt')
    """
    return f"{name.rstrip('/')}/{line}" if isinstance(line, str) else f"{name}:{line}"


def places(lines: Sequence[int | str], most: int) -> str:
    """Rows of a file in words, cut if they are many.

    >>> places([3, 8], 3), places(["a.txt"], 3)
    ('lines 3, 8', 'a.txt')
    """
    word = "" if lines and isinstance(lines[0], str) else "lines "
    return word + join_limited(lines, most)
