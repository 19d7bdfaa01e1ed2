"""What users had, in order of time, and where it is divided into train, validation and test."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Event(NamedTuple):
    """A user had an item at a time (seconds); ``line`` is its place in the file."""

    user: str
    item: str
    time: float
    line: int | str


def moment(value: Any) -> float:
    """A time in seconds: a number as it is, a date or time (ISO 8601) since 1970, by default UTC.

    Raises:
        ValueError: it is neither.

    >>> moment("964982703"), moment("1970-01-02"), moment("1970-01-01T01:00:00+01:00")
    (964982703.0, 86400.0, 0.0)
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, datetime.date):
        seconds = _since(datetime.datetime.combine(value, getattr(value, "time", datetime.time)()))
    else:
        text = str(value).strip()
        try:
            seconds = float(text)
        except ValueError:
            seconds = _since(datetime.datetime.fromisoformat(text))
    if not math.isfinite(seconds):
        raise ValueError(value)
    return seconds


def _since(time: datetime.datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp()


def in_order(events: Iterable[Event]) -> tuple[dict[str, list[tuple[str, int | str]]], int]:
    """Items of each user in order of time, each once; equal times keep the order of the file.

    Returns:
        User to items with their lines, users in the order in which they first appear, and how many
        events were left out because the user had the item before.
    """
    events_of: dict[str, list[Event]] = {}
    for event in events:
        events_of.setdefault(event.user, []).append(event)
    users: dict[str, list[tuple[str, int | str]]] = {}
    repeated = 0
    for user, theirs in events_of.items():
        lines: dict[str, int | str] = {}
        for event in sorted(theirs, key=lambda e: e.time):  # stable
            lines.setdefault(event.item, event.line)
        users[user] = list(lines.items())
        repeated += len(theirs) - len(lines)
    return users, repeated


def cuts(length: int, held_out: int) -> tuple[int, int]:
    """Where validation and test begin in a user's items; none are held out of too few.

    >>> cuts(20, 5), cuts(10, 5)
    ((10, 15), (10, 10))
    """
    return (length - 2 * held_out, length - held_out) if length > 2 * held_out else (length, length)


def user_text(history: Sequence[str]) -> str:
    """The text of a user: those of the items, the latest first, so that the oldest is cut first.

    Args:
        history: texts of the items, the latest last.

    >>> user_text(["Alien (1979)", "Heat (1995)"])
    'Heat (1995); Alien (1979)'
    """
    return "; ".join(reversed(history))
