"""Numbers as a page writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ftlight.utils import format as fmt

MINUS = "\u2212"


class Interval(NamedTuple):
    """A value with its interval, and their places on a common scale from 0 to 100.

    Attributes:
        value: the value.
        words: its interval in words.
        at: place of the value.
        low: place of the lower end.
        high: place of the upper end.
    """

    value: str
    words: str
    at: float
    low: float
    high: float


def number(value: Any) -> str:
    """A value with four digits behind the point if it is small; a dash if there is none.

    >>> number(0.9), number(-3), number(175.932), number(None), number(True)
    ('0.9000', '\u22123', '175.9', '–', 'True')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    text = f"{value:,}"
    if isinstance(value, float):
        is_small = 0.001 <= abs(value) < 10
        text = f"{value:.4f}" if is_small else fmt.number(value)
    return text.replace("-", MINUS, 1) if value < 0 else text


def short(value: float) -> str:
    """A share in two digits, without its zero.

    >>> short(0.614), short(-0.1), short(1.0)
    ('.61', '\u2212.10', '1.00')
    """
    digits = f"{abs(value):.2f}"
    digits = digits[1:] if digits.startswith("0") and digits != "0.00" else digits
    return f"{MINUS}{digits}" if value < 0 and digits != "0.00" else digits


def signed(value: float) -> str:
    """A difference with its sign.

    >>> signed(0.0105), signed(-0.2)
    ('+0.0105', '\u22120.2000')
    """
    return f"{'+' if value >= 0 else MINUS}{abs(value):.4f}"


def percent(value: float | None) -> str:
    """A share in percent.

    >>> percent(0.734), percent(None), percent(0.004)
    ('73 %', '–', '0.4 %')
    """
    if value is None:
        return "–"
    return f"{100 * value:.0f} %" if value >= 0.1 or not value else f"{100 * value:.1f} %"


def interval(low: float | None, high: float | None) -> str:
    """The ends of an interval; empty if there is none.

    >>> interval(0.91, 0.94), interval(None, 1.0)
    ('0.9100 to 0.9400', '')
    """
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def p_value(value: float | None) -> str:
    """A p-value in two digits; very small ones by their bound.

    >>> p_value(0.0312), p_value(2e-9), p_value(None)
    ('0.031', '< 1e-6', '–')
    """
    if value is None:
        return "–"
    return "< 1e-6" if value < 1e-6 else f"{value:.2g}"


def placed(
    value: float | None, low: float | None, high: float | None, scale: tuple[float, float]
) -> Interval:
    """A value with its interval on a scale."""
    room = (scale[1] - scale[0]) or 1.0

    def at(x: float | None) -> float:
        return 0.0 if x is None else round(min(100.0, max(0.0, 100 * (x - scale[0]) / room)), 1)

    ends = (value if low is None else low, value if high is None else high)
    return Interval(number(value), interval(low, high), at(value), at(ends[0]), at(ends[1]))


def interval_of(found: Mapping[str, Any]) -> str:
    """The interval of a difference."""
    return f"{signed(found['low'])} to {signed(found['high'])}"
