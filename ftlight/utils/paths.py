"""Paths that a user gave, and places of rows in files."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftlight.utils.errors import UserError, first_line, join_limited, shortened

PATHS = {  # options that name files and folders
    "data": ("train", "validation", "test", "items", "folder"),
    "model": ("backbone", "label_descriptions"),
}


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


ROW = "row "  # how the place of a row begins that has no line of its own


def is_line(place: int | str) -> bool:
    """Whether a place is the number of a line; tables hold it as text if others are none."""
    return isinstance(place, int) or place.isdecimal()


def is_document(place: int | str) -> bool:
    """Whether a place is the path of a document."""
    return not is_line(place) and not str(place).startswith(ROW)


def place(name: str, line: int | str) -> str:
    """Where a row was read: its line in a file, its number there, or its document in a folder.

    >>> place("a.csv", 3), place("a.json", "row 7"), place("letters", "2024/a.txt")
    ('a.csv:3', 'a.json, row 7', 'letters/2024/a.txt')
    """
    if is_document(line):
        return f"{name.rstrip('/')}/{line}"
    return f"{name}:{line}" if is_line(line) else f"{name}, {line}"


def places(lines: Sequence[int | str], most: int) -> str:
    """Rows of a file in words, cut if they are many.

    >>> places([3, 8], 3), places([3], 3), places(["a.txt"], 3)
    ('lines 3, 8', 'line 3', 'a.txt')
    """
    word = "" if not lines or not is_line(lines[0]) else "lines " if len(lines) > 1 else "line "
    return word + join_limited(lines, most)


def anchor(section: str, key: str, value: Any, folder: Path) -> Any:
    """Makes the value of an option that names a file absolute.

    It is looked for from the working folder, then from ``folder``; any other value stays as it is.

    Raises:
        UserError: the system cannot look for it.
    """
    if key in PATHS.get(section, ()) and isinstance(value, str) and value and ":" not in value:
        for path in (user_path(value, f"{section}.{key}"), folder / value):
            if path.exists():
                return str(path.absolute())
    return value
