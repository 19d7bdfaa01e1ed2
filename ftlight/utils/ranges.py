"""Checks of numbers in constructors, which hold for YAML, command line and Python alike."""

from __future__ import annotations

from ftlight.utils.errors import UserError


def check_range(
    option: str,
    value: float | None,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Checks that the value of an option lies in its range; None is not checked.

    Args:
        option: its name, such as data.batch_size.
        value: what the user gave.
        least: the least that it may be.
        most: the most that it may be.
        above: a bound that it must exceed.
        below: a bound that it must stay below.

    Raises:
        UserError: the value is outside the range, or NaN.

    >>> check_range("data.mask", 15, above=0, below=1)
    Traceback (most recent call last):
    ftlight.utils.errors.UserError: data.mask: 15 is out of range; it must be above 0 and below 1
    """
    if value is None:
        return
    bounds = {
        "at least": (least, least is None or value >= least),
        "above": (above, above is None or value > above),
        "at most": (most, most is None or value <= most),
        "below": (below, below is None or value < below),
    }
    if not all(holds for _, holds in bounds.values()):
        limits = [f"{words} {bound:,}" for words, (bound, _) in bounds.items() if bound is not None]
        raise UserError(f"{option}: {value} is out of range; it must be {' and '.join(limits)}")
