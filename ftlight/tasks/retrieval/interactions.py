"""Interactions of users with items in order of time, the last of each user held out."""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ftlight.data import files
from ftlight.data.sources import Source
from ftlight.utils.errors import UserError


class Event(NamedTuple):
    """A user had an item at a time (seconds); ``line`` is its line in the file."""

    user: str
    item: str
    time: float
    line: int


class Columns(NamedTuple):
    """Columns of interactions, and the rating from which on they count.

    Attributes:
        user: column of the user.
        item: column of the item's id.
        time: column of the time: a number, or a date.
        rating: column of a rating.
        min_rating: the least rating that counts.
    """

    user: str
    item: str
    time: str
    rating: str | None = None
    min_rating: float | None = None

    def too_low(self, row: files.Row, name: str) -> bool:
        """Whether a row is rated below :attr:`min_rating`.

        Raises:
            UserError: the rating is no number.
        """
        if self.rating is None or self.min_rating is None:
            return False
        value = row[self.rating]
        try:
            return float(value) < self.min_rating
        except (TypeError, ValueError):
            raise UserError(
                f"{name}:{row[files.LINE]}: column {self.rating} holds {value!r},"
                " which is no number"
            ) from None


class Histories(NamedTuple):
    """What users had, in order of time.

    Attributes:
        users: user to items, each with its line in the file.
        repeated: events left out because the user had the item before.
        low: events left out for their rating.
    """

    users: dict[str, list[tuple[str, int]]]
    repeated: int
    low: int


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


def in_order(events: Iterable[Event]) -> tuple[dict[str, list[tuple[str, int]]], int]:
    """Items of each user in order of time, each once; equal times keep the order of the file.

    Returns:
        User to items with their lines, users in the order in which they first appear, and how many
        events were left out because the user had the item before.
    """
    events_of: dict[str, list[Event]] = {}
    for event in events:
        events_of.setdefault(event.user, []).append(event)
    users: dict[str, list[tuple[str, int]]] = {}
    repeated = 0
    for user, theirs in events_of.items():
        lines: dict[str, int] = {}
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


def rows_of(
    user: str,
    items: Sequence[tuple[str, int]],
    split: str,
    held_out: int,
    history: int,
    per_user: int | None,
) -> Iterator[files.Row]:
    """Yields the rows of a user: items before, and the next one in train, else all held out.

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
def read(source: Source, columns: Columns, digest: str) -> Histories:
    """Reads interactions, all in memory.

    Args:
        source: file, or hub data set.
        columns: columns of the interactions.
        digest: identifies the content.

    Raises:
        UserError: a cell is missing, or is no time or number; names the line.
    """
    needed = [columns.user, columns.item, columns.time]
    if columns.rating and columns.min_rating is not None:
        needed.append(columns.rating)
    events: list[Event] = []
    low = 0
    for row in source.rows(needed):
        user = files.filled(row, columns.user, source.name).strip()
        item = files.filled(row, columns.item, source.name).strip()
        if columns.too_low(row, source.name):
            low += 1
        else:
            time = time_of(row, columns.time, source.name)
            events.append(Event(user, item, time, row[files.LINE]))
    users, repeated = in_order(events)
    return Histories(users, repeated, low)


def time_of(row: files.Row, column: str, name: str) -> float:
    """The time of a row, in seconds.

    Raises:
        UserError: it is no time; names the line.
    """
    try:
        return moment(row[column])
    except ValueError:
        raise UserError(
            f"{name}:{row[files.LINE]}: column {column} holds {row[column]!r}, which is no time;"
            " write seconds or a date such as 2024-05-31T12:00"
        ) from None


def read_rows(
    source: Source,
    split: str,
    columns: Columns,
    held_out: int,
    history: int,
    per_user: int | None,
    digest: str,
) -> Iterator[files.Row]:
    """Yields the rows of a split of interactions.

    Args:
        source: file, or hub data set.
        split: train, validation or test.
        columns: columns of the interactions.
        held_out: items of each user held out for the test, and as many before for validation.
        history: the most items before.
        per_user: the most rows of a user to train on, the latest; None for all.
        digest: identifies the content, up to a space.

    Yields:
        ``user``, ``history`` and ``positives`` (ids), and the ``line`` of the first of these.
    """
    for user, items in read(source, columns, digest.split()[0]).users.items():
        yield from rows_of(user, items, split, held_out, history, per_user)


def by_user(rows: Sequence[files.Row], columns: Columns, name: str) -> list[files.Row]:
    """A row for each user of interactions, with all items in order of time as ``history``.

    Args:
        rows: rows as read; in the order of the file if they have no time.
        columns: columns of the interactions.
        name: file of the rows.
    """
    events = []
    for row in rows:
        files.need(row, [columns.user, columns.item], name)
        if columns.rating in row and columns.too_low(row, name):
            continue
        user = files.cell(row, columns.user, name).strip()
        item = files.cell(row, columns.item, name).strip()
        time = time_of(row, columns.time, name) if columns.time in row else 0.0
        events.append(Event(user, item, time, row[files.LINE]))
    users, _ = in_order(events)
    return [
        {columns.user: user, "history": [item for item, _ in items]}
        for user, items in users.items()
    ]


def trained_on(histories: Histories, held_out: int) -> dict[str, list[str]]:
    """Items of each user that are not held out, in order of time."""
    return {
        user: [i for i, _ in items[: cuts(len(items), held_out)[0]]]
        for user, items in histories.users.items()
    }


def survey(histories: Histories, held_out: int) -> list[str]:
    """Notes of what was left out."""
    few = sum(len(items) <= 2 * held_out for items in histories.users.values())
    notes = {
        f"of {len(histories.users)} users have at most {2 * held_out} items:"
        " they only train (data.held_out)": few,
        "interactions are with an item that the user had before, and left out": histories.repeated,
        "interactions are rated below data.min_rating, and left out": histories.low,
    }
    return [f"{count:,} {what}" for what, count in notes.items() if count]


def user_text(history: Sequence[str]) -> str:
    """The text of a user: those of the items, the latest first, so that the oldest is cut first.

    Args:
        history: texts of the items, the latest last.

    >>> user_text(["Alien (1979)", "Heat (1995)"])
    'Heat (1995); Alien (1979)'
    """
    return "; ".join(reversed(history))
