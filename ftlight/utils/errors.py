"""Errors of one line that a user can act on."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable

LONGEST = 200  # characters of a name that is compared or listed whole
FILES = (
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR),
    *(errno.ELOOP, errno.ENAMETOOLONG, errno.EIO, errno.ESTALE),
)
"""What the system says of a file that cannot be used as it is."""


class UserError(Exception):
    """A fault in the user's input; says what, where, the nearest name and the way out."""

    status = 2  # that the process ends with


class WriteError(UserError):
    """Something that could not be written, as on a full disk; says what, why and the way out."""

    status = 74  # EX_IOERR


def user_error(error: BaseException) -> UserError | None:
    """Finds the user error that libraries have wrapped in their own; None if there is none."""
    chain: BaseException | None = error
    while chain is not None and not isinstance(chain, UserError):
        chain = chain.__cause__ or chain.__context__
    # a process that loads batches passes its error on as text, with the traceback
    if chain is not None and str(chain).startswith("Caught UserError in"):
        return UserError(str(chain).rstrip().rpartition("UserError: ")[2])
    return chain


def file_fault(error: BaseException) -> str:
    """The line for a file that the system refuses to open; empty for any other error."""
    if not isinstance(error, OSError) or error.errno not in FILES or not error.filename:
        return ""
    name = error.filename2 or error.filename  # of two the one to be written
    return f"{shortened(str(name))}: {str(error.strerror).lower()}; check the file and its folder"


def holds_code(path: object) -> UserError:
    """The error for a file of weights that cannot be loaded without running pickled code."""
    return UserError(
        f"{path}: cannot load weights: "
        "the file is corrupt or contains pickled code, which ftlight never runs"
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class name if it has none.

    >>> first_line(ValueError("one")), first_line(KeyError()), first_line(MemoryError())
    ('one', 'KeyError', 'not enough memory')
    """
    name = "not enough memory" if isinstance(error, MemoryError) else type(error).__name__
    return (str(error).strip() or name).splitlines()[0]


def shortened(text: str, most: int = 60) -> str:
    """A text for a message, cut if it is long.

    >>> shortened("abcdef", most=4)
    'abc…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Returns ``; did you mean "x"?`` for the name closest to ``name``, or nothing.

    If none is close, one counts that begins with the name or has it as a word.

    >>> did_you_mean("lable", ["label", "text"])
    '; did you mean "label"?'
    >>> did_you_mean("Text", ["Betreff", "Text der Mail"])
    '; did you mean "Text der Mail"?'
    """
    by_lower, wanted = {n.lower(): n for n in names if len(n) <= LONGEST}, name.lower()
    if len(wanted) > LONGEST:
        return ""
    closest = difflib.get_close_matches(wanted, by_lower, n=1, cutoff=0.65)
    if not closest and len(wanted) > 2:
        word = re.compile(rf"^{re.escape(wanted)}|(?<![^\W_]){re.escape(wanted)}(?![^\W_])")
        closest = sorted(filter(word.search, by_lower), key=len)
    return f'; did you mean "{by_lower[closest[0]]}"?' if closest else ""


def unknown(what: str, name: object, known: Iterable[object], kind: str, most: int = 20) -> str:
    """The message for a name that does not exist, with the closest name and all that do.

    Args:
        what: place and kind of the name, as a start of the sentence.
        name: the unknown name.
        known: the names that exist.
        kind: their kind, in plural.
        most: how many of them to list.

    >>> unknown("toy.csv: no column", "lable", ["text", "label"], "columns")
    'toy.csv: no column lable; did you mean "label"? (columns: text, label)'
    """
    names = [str(n) for n in known]
    name = shortened(str(name), LONGEST)
    return f"{what} {name}{did_you_mean(str(name), names)} ({kind}: {join_limited(names, most)})"


def join_limited(names: Iterable[object], most: int = 8) -> str:
    """Joins names for a message, cutting a long list.

    >>> join_limited(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    listed = list(names)
    rest = len(listed) - most
    words = ", ".join(shortened(str(name), LONGEST) for name in listed[:most])
    return words + (f" and {rest} more" if rest > 0 else "")
