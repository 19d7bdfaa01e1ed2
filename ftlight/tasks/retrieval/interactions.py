"""Who had which item when: read strictly, in order of time, the last of each user held out."""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ftlight.data import files
from ftlight.data.sources import open_rows
from ftlight.utils.errors import UserError


class Event(NamedTuple):
    """A user had an item at a time, in seconds; ``line`` is that of the file."""

    user: str
    item: str
    time: float
    line: int


class Histories(NamedTuple):
    """What users had, in order of time.

    Attributes:
        users: user to items and the lines of the file they are from.
        repeated: events left out because the user had the item before.
        low: events left out for their rating.
    """

    users: dict[str, list[tuple[str, int]]]
    repeated: int
    low: int


def moment(value: Any) -> float:
    """A time in seconds: a number as it is, a date or a date with time (ISO 8601) since 1970, in UTC where it names no zone.

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


def in_order(events: Iterable[Event]) -> tuple[dict[str, list[tuple[str, int]]], int]:
    """Items of each user in order of time, each item once; of equal times the one that was given first comes first.

    Returns:
        User to items with their lines, users in the order in which they first appear, and how many events were left out
        because the user had the item before.
    """
    of: dict[str, list[Event]] = {}
    for event in events:
        of.setdefault(event.user, []).append(event)
    found: dict[str, list[tuple[str, int]]] = {}
    count = 0
    for user, mine in of.items():
        count += len(mine)
        first: dict[str, int] = {}
        for event in sorted(mine, key=lambda e: e.time):  # stable
            first.setdefault(event.item, event.line)
        found[user] = list(first.items())
    return found, count - sum(map(len, found.values()))


def cuts(length: int, held_out: int) -> tuple[int, int]:
    """Where validation and test begin in a user's items; a user who would have none left to train on gives none.

    >>> cuts(20, 5), cuts(10, 5)
    ((10, 15), (10, 10))
    """
    return (length - 2 * held_out, length - held_out) if length > 2 * held_out else (length, length)


def rows_of(
    user: str,
    items: Sequence[tuple[str, int]],
    split: str,
    held_out: int,
    history: int,
    per_user: int | None,
) -> Iterator[files.Row]:
    """Rows of a user: the last items before, and what came then: the next item in train, all that is held out otherwise.

    Args:
        user: the user.
        items: items with their lines, in order of time.
        split: train, validation or test.
        held_out: items held out for the test, and as many before them for validation.
        history: the most items before.
        per_user: the most rows to train on, the latest; None for all.
    """
    middle, end = cuts(len(items), held_out)
    if split == "train":
        first = max(1, middle - per_user) if per_user is not None else 1
        places = [(i, i + 1) for i in range(first, middle)]
    else:
        begin, stop = (middle, end) if split == "validation" else (end, len(items))
        places = [(begin, stop)] if begin < stop else []
    for begin, stop in places:
        before, then = items[max(0, begin - history) : begin], items[begin:stop]
        yield {
            "user": user,
            "history": [i for i, _ in before],
            "positives": [i for i, _ in then],
            "line": then[0][1],
        }


@functools.lru_cache(1)  # each split asks for the same
def read(
    name: str,
    user: str,
    item: str,
    time: str,
    rating: str | None,
    min_rating: float | None,
    encoding: str,
    digest: str,
) -> Histories:
    """Reads interactions, all in memory.

    Args:
        name: file, or hub data set.
        user: column of the user.
        item: column of the item's id.
        time: column of the time: a number, or a date.
        rating: column of a rating.
        min_rating: the least rating that counts.
        encoding: encoding of a text file.
        digest: what tells the content.

    Raises:
        UserError: a cell is missing, or is no time or number; names the line.
    """
    low = 0
    columns = [user, item, time, *([rating] if rating and min_rating is not None else [])]

    def events() -> Iterator[Event]:
        nonlocal low
        for row in open_rows(name, "train", columns, encoding):
            line = row[files.LINE]
            who, what = (files.as_text(row[c], name, line, c).strip() for c in (user, item))
            if not who or not what:
                raise UserError(
                    f"{name}:{line}: column {item if who else user} is empty; fill it in or take the row out"
                )
            if (
                rating
                and min_rating is not None
                and number(row[rating], name, line, rating) < min_rating
            ):
                low += 1
                continue
            yield Event(who, what, time_of(row, time, name), line)

    users, repeated = in_order(events())
    return Histories(users, repeated, low)


def time_of(row: files.Row, column: str, name: str) -> float:
    """The time of a row, in seconds.

    Raises:
        UserError: it is none; names the line.
    """
    try:
        return moment(row[column])
    except ValueError:
        what = f"{name}:{row[files.LINE]}: column {column} holds {row[column]!r}, which is no time"
        raise UserError(f"{what}; write seconds or a date such as 2024-05-31T12:00") from None


def number(value: Any, name: str, line: int, column: str) -> float:
    """A cell as a number.

    Raises:
        UserError: it is none.
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UserError(
            f"{name}:{line}: column {column} holds {value!r}, which is no number"
        ) from None


def read_rows(
    name: str,
    split: str,
    columns: Sequence[Any],
    held_out: int,
    history: int,
    per_user: int | None,
    digest: str,
) -> Iterator[files.Row]:
    """Rows of a split of interactions: ``user``, ``history`` and ``positives`` (ids), and the ``line`` of the first of these.

    Args:
        name: file, or hub data set.
        split: train, validation or test.
        columns: user, item, time, rating, min_rating and encoding of :func:`read`.
        held_out: items of each user held out for the test, and as many before them for validation.
        history: the most items before.
        per_user: the most rows of a user to train on, the latest; None for all.
        digest: what tells the content, up to a space.
    """
    for user, items in read(name, *columns, digest.split()[0]).users.items():
        yield from rows_of(user, items, split, held_out, history, per_user)


def by_user(
    rows: Sequence[files.Row], user: str, item: str, time: str, name: str
) -> list[files.Row]:
    """A row for each user of interactions, with all items in order of time as ``history``; of the file's where there is no time.

    Args:
        rows: rows as read.
        user: column of the user.
        item: column of the item's id.
        time: column of the time.
        name: what was read.
    """
    events = []
    for row in rows:
        files.need(row, [user, item], name)
        line = row[files.LINE]
        who, what = (files.as_text(row[c], name, line, c).strip() for c in (user, item))
        events.append(Event(who, what, time_of(row, time, name) if time in row else 0.0, line))
    return [
        {user: who, "history": [i for i, _ in items]} for who, items in in_order(events)[0].items()
    ]


def trained_on(found: Histories, held_out: int) -> dict[str, list[str]]:
    """Items of each user that are not held out, in order of time."""
    return {
        user: [i for i, _ in items[: cuts(len(items), held_out)[0]]]
        for user, items in found.users.items()
    }


def survey(found: Histories, held_out: int) -> list[str]:
    """What was left out, in words."""
    few = sum(len(items) <= 2 * held_out for items in found.users.values())
    said = [
        (
            few,
            f"of {len(found.users)} users have at most {2 * held_out} items: they only train (data.held_out)",
        ),
        (found.repeated, "interactions are with an item that the user had before, and left out"),
        (found.low, "interactions are rated below data.min_rating, and left out"),
    ]
    return [f"{count:,} {what}" for count, what in said if count]


def user_text(history: Sequence[str]) -> str:
    """The text of a user: those of the last items, the latest first, so that what is cut is the oldest.

    Args:
        history: texts of the items, the latest last.

    >>> user_text(["Alien (1979)", "Heat (1995)"])
    'Heat (1995); Alien (1979)'
    """
    return "; ".join(reversed(history))
