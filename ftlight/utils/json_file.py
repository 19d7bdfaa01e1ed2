"""JSON files read strictly: what is wrong with one is a line that names it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ftlight.utils.errors import UserError, join_limited

MOST = 100_000_000  # bytes of a file; values in memory take up to twenty times as many
DEEPEST = 100  # levels of nesting: what walks through a value must not run out of stack
WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    None: "null",
}
ANY = "*"  # the key in a shape that stands for all others
NUMERAL = "#"  # likewise, for keys that are numbers
Shape = Any
"""What JSON may hold: a type of :data:`WORDS`, a tuple of several shapes, a set of words, a list of
one shape, a mapping of keys to shapes. Keys may be missing, others may be there."""


def read(
    path: Path, shape: Shape = dict, way: str = "restore it from a copy", need: Iterable[str] = ()
) -> Any:
    """Reads a JSON file.

    Args:
        path: the file.
        shape: what it must hold.
        way: the way out if it does not.
        need: keys that must not be missing.

    Raises:
        UserError: it cannot be read, is no JSON, or holds something else.
    """
    try:
        value = parse(content(path))
        wrong = misfit(value, shape) or _lacks(value, need)
    except OSError as error:
        wrong = f"cannot be read ({error.strerror or error})"
    except ValueError as error:
        wrong = str(error)
    if wrong:
        raise UserError(f"{path}: {wrong}; {way}")
    return value


def is_there(path: Path) -> bool:
    """Whether there is anything at a path, a link to nowhere included.

    Raises:
        PermissionError: it may not be looked at.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def read_lines(
    path: Path, shape: Shape = dict, way: str = "restore it from a copy", need: Iterable[str] = ()
) -> list[Any]:
    """Reads a file of JSON lines; the arguments are those of :func:`read`.

    Raises:
        UserError: it cannot be read, or a line is no JSON or holds something else.
    """
    values = []
    try:
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            values.append(parse(line))
            wrong = misfit(values[-1], shape) or _lacks(values[-1], need)
            if wrong:
                raise UserError(f"{path}:{number}: {wrong}; {way}")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {way}") from None
    except ValueError as error:
        raise UserError(f"{path}:{len(values) + 1}: {error}; {way}") from None
    if not values:
        raise UserError(f"{path}: is empty; {way}")
    return values


def content(path: Path) -> bytes:
    """The bytes of a JSON file.

    Raises:
        ValueError: there are more than such a file has.
    """
    with path.open("rb") as file:
        data = file.read(MOST + 1)
    if len(data) > MOST:
        raise ValueError(f"has more than {MOST:,} bytes")
    return data


def parse(data: bytes) -> Any:
    """The value of JSON in UTF-8, with a byte order mark or without.

    Raises:
        ValueError: it is no JSON, or none that can be worked with; says why.
    """
    if not data.strip(b"\0 \t\r\n"):
        raise ValueError("holds nothing but NUL bytes" if b"\0" in data else "is empty")
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"not valid JSON: {error.msg} ({place})") from None
    except RecursionError:
        raise ValueError(f"nested more than {DEEPEST} levels deep") from None
    except ValueError:  # Python reads no whole numbers of more than 4,300 digits
        raise ValueError("not valid JSON: a number of thousands of digits") from None
    if is_deeper(value):
        raise ValueError(f"nested more than {DEEPEST} levels deep")
    return value


def is_deeper(value: Any) -> bool:
    """Whether a value is nested so deep that what walks through it may run out of stack."""
    level = [value]
    for _ in range(DEEPEST):
        level = [item for outer in level for item in _inside(outer)]
    return bool(level)


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def misfit(value: Any, shape: Shape, place: str = "") -> str:
    """Where a value is not of a shape, in words; empty if it is.

    >>> misfit({"labels": ["a", 3]}, {"labels": [str]})
    'labels.1: expected text, got a whole number'
    >>> misfit([], dict), misfit({"seed": None}, {"seed": (int, None)})
    ('expected an object, got a list', '')
    >>> misfit({"coverage": {"0.9": 1.5, "x": 2.0}}, {"coverage": {NUMERAL: float}})
    "coverage: expected numbers as names, got 'x'"
    """
    shapes = shape if isinstance(shape, tuple) else (shape,)
    kinds = [_kind(s) for s in shapes]
    own = None if value is None else type(value)
    whole = shapes[kinds.index(own)] if own in kinds else None
    unknown = isinstance(whole, (set, frozenset)) and value not in whole
    at = f"{place}: " if place else ""
    if unknown or (own not in kinds and not (own is int and float in kinds)):
        wanted = " or ".join(map(_words, shapes))
        return (
            f"{at}expected {wanted}, got {value!r:.40}"
            if unknown
            else (f"{at}expected {wanted}, got {WORDS[own]}")
        )
    if isinstance(whole, Mapping) and NUMERAL in whole:
        odd = [key for key in value if not _is_number(key)]
        if odd:
            return f"{at}expected numbers as names, got {odd[0]!r:.40}"
    for key, item, inner in _parts(value, whole):
        wrong = misfit(item, inner, f"{place}.{key}" if place else str(key)) if inner else ""
        if wrong:
            return wrong
    return ""


def _kind(shape: Shape) -> Any:
    """The type of what has a shape."""
    if isinstance(shape, (set, frozenset)):
        return str
    return type(shape) if isinstance(shape, (list, Mapping)) else shape


def _words(shape: Shape) -> str:
    if isinstance(shape, (set, frozenset)):
        return " or ".join(sorted(shape))
    return WORDS[_kind(shape)]


def _lacks(value: Any, need: Iterable[str]) -> str:
    missing = [key for key in need if key not in value]
    return f"has no {join_limited(missing)}" if missing else ""


def _parts(value: Any, shape: Shape) -> list[tuple[Any, Any, Shape]]:
    """What must be looked at inside a value: its key, itself, and its shape."""
    if isinstance(shape, list):
        return [(key, item, shape[0]) for key, item in enumerate(value)]
    if not isinstance(shape, Mapping):
        return []
    others = shape.get(NUMERAL, shape.get(ANY))
    return [(key, item, shape.get(key, others)) for key, item in value.items()]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
