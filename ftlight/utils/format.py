"""Numbers as text: values, counts, rates, durations."""

from __future__ import annotations

import math


def number(value: float | None) -> str:
    """A value for a table: four significant digits, n/a where it is not defined."""
    return "n/a" if value is None or not math.isfinite(value) else f"{value:.4g}"


def count(value: float) -> str:
    """A count in short form.

    >>> count(22713216), count(640)
    ('22.7 M', '640')
    """
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= limit:
            return f"{value / (limit if unit != ' k' else 1e3):.3g}{unit}"
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """A learning rate.

    >>> rate(1e-4), rate(0.01), rate(3.21e-05)
    ('1e-4', '0.01', '3.2e-5')
    """
    return (
        f"{value:.2g}" if value >= 1e-3 else f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
    )


def clock(seconds: float) -> str:
    """A duration.

    >>> clock(65), clock(3700)
    ('1:05', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
