"""What went wrong, in one line a person can act on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A fault in what the user gave: says what, where, the nearest name and the way out."""


def user_error(error: BaseException) -> UserError | None:
    """The fault behind an error, where libraries have wrapped it in errors of their own; None where there is none."""
    chain: BaseException | None = error
    while chain is not None and not isinstance(chain, UserError):
        chain = chain.__cause__ or chain.__context__
    if chain is not None and str(chain).startswith(
        "Caught UserError in"
    ):  # of a process that loads batches, with its traceback
        return UserError(str(chain).rstrip().rpartition("UserError: ")[2])
    return chain


def holds_code(path: object) -> UserError:
    """The fault of a file of weights that cannot be read without running what is in it."""
    return UserError(
        f"{path}: these are no weights that can be read: the file is damaged or holds more than tensors; no code in it is run"
    )


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Returns ``; did you mean "x"?`` for the name closest to ``name``, or nothing.

    >>> did_you_mean("lable", ["label", "text"])
    '; did you mean "label"?'
    """
    by_lower = {n.lower(): n for n in names}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.65)
    return f'; did you mean "{by_lower[found[0]]}"?' if found else ""


def unknown(what: str, name: object, known: Iterable[object], kind: str, most: int = 20) -> str:
    """The words for a name that does not exist: the nearest, then all that do.

    >>> unknown("toy.csv: no column", "lable", ["text", "label"], "columns")
    'toy.csv: no column lable; did you mean "label"? (columns: text, label)'
    """
    names = [str(n) for n in known]
    return f"{what} {name}{did_you_mean(str(name), names)} ({kind}: {join_limited(names, most)})"


def join_limited(names: Iterable[object], most: int = 8) -> str:
    """Joins names for a message, cutting a long list.

    >>> join_limited(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    words = [str(n) for n in names]
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")
