"""The command line of ``chat``: what is wrong with it shows before anything is imported."""

from __future__ import annotations

import math

from ftlight.cli.command import Words
from ftlight.utils.errors import UserError


def check(words: Words) -> str:
    """The run to talk to.

    Raises:
        UserError: something is wrong with the command line.
    """
    if len(words.alone) != 1:
        wrong = f"{words.alone[1]}: unexpected" if words.alone else "chat needs a run"
        raise UserError(f"{wrong}: python -m ftlight chat RUN")
    temperature(words)
    top_p(words)
    return words.alone[0]


def temperature(words: Words) -> float | None:
    """The temperature that is given, if one is."""
    return _number(words, "temperature", math.inf)


def top_p(words: Words) -> float | None:
    """The probability mass that is given, if one is."""
    return _number(words, "top_p", 1)


def _number(words: Words, name: str, most: float) -> float | None:
    """The value of an option that is a number from 0 on; None if it is not given.

    Raises:
        UserError: it is none.
    """
    if name not in words.own:
        return None
    try:
        value = float(words.own[name])
    except ValueError:
        value = math.nan
    if not (0 <= value <= most and math.isfinite(value)):
        upto = "from 0 on" if math.isinf(most) else f"from 0 to {most:g}"
        raise UserError(f"--{name} {words.own[name]}: expected a number {upto}")
    return value
