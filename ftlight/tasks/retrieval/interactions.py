"""Interactions of users with items in order of time, the last of each user held out."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ftlight.data import files
from ftlight.data.sources import Source
from ftlight.tasks.retrieval.events import Event, cuts, in_order, moment
from ftlight.utils.errors import UserError


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
                f"{files.place(name, row[files.LINE])}: column {self.rating} holds {value!r},"
                " which is no number"
            ) from None


class Histories(NamedTuple):
    """What users had, in order of time.

    Attributes:
        users: user to items, each with its line in the file.
        repeated: events left out because the user had the item before.
        low: events left out for their rating.
    """

    users: dict[str, list[tuple[str, int | str]]]
    repeated: int
    low: int


def rows_of(
    user: str,
    items: Sequence[tuple[str, int | str]],
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
            f"{files.place(name, row[files.LINE])}: column {column} holds {row[column]!r},"
            " which is no time; write seconds or a date such as 2024-05-31T12:00"
        ) from None


def read_rows(
    source: Source,
    split: str,
    columns: Columns,
    held_out: int,
    history: int,
    per_user: int | None,
    digest: str,
    code: str = "",
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
        code: digest of what orders the rows, for the cache.

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


def check_lengths(histories: Histories, name: str, split: str, held_out: int) -> None:
    """Checks that some user has enough items for a split.

    Raises:
        UserError: nobody has; says how many the most are.
    """
    sizes = [len(items) for items in histories.users.values()]
    longest, least = max(sizes, default=0), 2 if split == "train" else 2 * held_out + 1
    if longest < least:
        raise UserError(
            f"{name}: no user has {least} items, the most are {longest}; lower data.held_out"
        )
    if split == "train" and all(cuts(size, held_out)[0] < 2 for size in sizes):
        raise UserError(f"{name}: no user has two items left to train on; lower data.held_out")
