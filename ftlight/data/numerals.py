"""Numbers as people write them: decimal commas, thousands separators, whole classes as 1.0."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ftlight.utils.errors import UserError, join_limited

MISSING = {"nan", "none", "null", "n/a", "na", "<na>", "nat", "#n/a", "-", "?"}
"""What programs write for a missing number, in small letters."""
WHOLE = re.compile(r"([+-]?\d+)\.0*")
SPACES = " '’\u00a0\u2009\u202f"  # between thousands
DIGITS = r"[+-]?(?:\d+|\d{1,3}(?:%s\d{3})+)"


class Notation(NamedTuple):
    """How numbers are written: the decimal sign, and what stands between thousands."""

    decimal: str
    thousands: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """Of a number written so."""
        whole = DIGITS % f"[{re.escape(self.thousands)}]"
        return re.compile(rf"{whole}(?:{re.escape(self.decimal)}\d+)?")

    def plain(self, value: str) -> str:
        """A number as Python writes it; anything else as it is.

        >>> Notation(",", ".").plain("1.234,5")
        '1234.5'
        """
        value = value.replace("−", "-")
        if not self.pattern.fullmatch(value):
            return value
        for sign in self.thousands:
            value = value.replace(sign, "")
        return value.replace(self.decimal, ".")


COMMA, POINT = Notation(",", "." + SPACES), Notation(".", "," + SPACES)


def is_number(value: str) -> bool:
    """Whether a label is a finite number (``nan`` and ``inf`` are words)."""
    try:
        return math.isfinite(float(value)) and value[-1] in "0123456789." and "_" not in value
    except ValueError:
        return False


def are_missing(values: Collection[str]) -> set[str]:
    """The values that stand for a missing number, if all others are numbers.

    Among words they may be classes: none, NA.

    >>> are_missing(["1.5", "nan", "2"]), are_missing(["none", "good"])
    ({'nan'}, set())
    """
    missing = {value for value in values if value.lower() in MISSING}
    others = [value for value in values if value not in missing]
    numbers = bool(others) and all(is_number(v) or _is_foreign(v) for v in others)
    return missing if numbers else set()


def _is_foreign(value: str) -> bool:
    value = value.replace("−", "-")
    return bool(COMMA.pattern.fullmatch(value) or POINT.pattern.fullmatch(value))


def notation(values: Collection[str], place: str) -> Notation | None:
    """How the numbers of a column are written; None if as Python writes them, or if they are none.

    Args:
        values: the values.
        place: file and column, for the error.

    Raises:
        UserError: 1,234 may be a thousand or one.

    >>> notation(["3,5", "12"], "") == COMMA, notation(["1,234.5"], "") == POINT
    (True, True)
    """
    odd = [value for value in values if not is_number(value)]
    if not odd or not all(_is_foreign(value) for value in odd):
        return None
    plain = [value.replace("−", "-") for value in values]
    fitting = [n for n in (COMMA, POINT) if all(n.pattern.fullmatch(v) for v in plain)]
    if len(fitting) == 2 and any("," in value for value in plain):
        raise UserError(
            f"{place}: numbers such as {join_limited(map(repr, odd), 3)} may have commas for"
            " decimals or for thousands; write them with a point, and without thousands separators"
        )
    return fitting[-1] if fitting else None


def whole(value: str) -> str:
    """A whole number without its decimals; anything else as it is.

    >>> whole("1.0"), whole("2."), whole("1.5"), whole("v1.0"), whole("-1.00")
    ('1', '2', '1.5', 'v1.0', '-1')
    """
    match = WHOLE.fullmatch(value)
    return match[1] if match else value


def are_classes(values: Sequence[str]) -> bool:
    """Whether whole numbers with decimals are numbers of classes that pandas made floats.

    They are if all are below 10, or count from 0 or 1 on without a gap.

    >>> are_classes(["0.0", "1.0", "4.0"]), are_classes(["97000.0", "12.0"]), are_classes(["1.5"])
    (True, False, False)
    """
    if not values or not all(re.fullmatch(r"[+-]?\d+", whole(value)) for value in values):
        return False
    numbers = {int(whole(value)) for value in values}
    least, most = min(numbers), max(numbers)
    return (least >= -1 and most < 10) or (least in (0, 1) and len(numbers) == most - least + 1)
