"""Interactions: read strictly, in order of time, the last held out and never trained on."""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import each, write_csv

from ftlight.data.sources import Source
from ftlight.tasks.retrieval.events import Event, cuts, in_order, moment, user_text
from ftlight.tasks.retrieval.interactions import Columns, read, read_rows, rows_of, survey
from ftlight.utils.errors import UserError

COLUMNS = Columns("user", "item", "time")
RATED = Columns("user", "item", "time", "stars", 3.0)


def write(
    path: Path, rows: Sequence[tuple[str, ...]], header: tuple[str, ...] = ("user", "item", "time")
) -> str:
    return write_csv(path, list(rows), header)


def rows(
    name: str, split: str, *, held_out: int = 2, history: int = 3, per_user: int | None = None
) -> list[dict[str, Any]]:
    return list(read_rows(Source(name), split, COLUMNS, held_out, history, per_user, "digest code"))


def test_times() -> None:
    cases = [
        ("12", 12.0),
        (12, 12.0),
        ("1.5e3", 1500.0),
        ("1970-01-02", 86400.0),
        ("1970-01-01T00:00:07Z", 7.0),
        ("1970-01-01 02:00:07+02:00", 7.0),
        (datetime.datetime(1970, 1, 1, 0, 1), 60.0),
        (datetime.date(1970, 1, 2), 86400.0),
    ]

    def check(value: Any, seconds: float) -> None:
        assert moment(value) == seconds

    each(cases, check)


def test_what_is_no_time() -> None:
    cases = ["", "soon", "2020-13-01", "nan", "inf", None, True]

    def check(value: Any) -> None:
        with pytest.raises(ValueError, match=r".|^$"):
            moment(value)

    each(cases, check)


def test_order_of_time_ties_as_given_and_each_item_once() -> None:
    given = [
        ("b", "x", 5),
        ("a", "p", 2),
        ("a", "q", 1),
        ("a", "r", 2),
        ("a", "p", 9),
        ("b", "y", 5),
    ]
    found, repeated = in_order(Event(u, i, float(t), n) for n, (u, i, t) in enumerate(given))
    assert found == {"b": [("x", 0), ("y", 5)], "a": [("q", 2), ("p", 1), ("r", 3)]}
    assert repeated == 1


def test_the_last_are_held_out() -> None:
    items = [(f"i{n}", n) for n in range(8)]
    test = list(rows_of("u", items, "test", 2, 3, None))
    validation = list(rows_of("u", items, "validation", 2, 3, None))
    assert test == [
        {"user": "u", "history": ["i3", "i4", "i5"], "positives": ["i6", "i7"], "line": 6}
    ]
    assert validation == [
        {"user": "u", "history": ["i1", "i2", "i3"], "positives": ["i4", "i5"], "line": 4}
    ]
    train = list(rows_of("u", items, "train", 2, 2, None))
    assert [(r["history"], r["positives"]) for r in train] == [
        (["i0"], ["i1"]),
        (["i0", "i1"], ["i2"]),
        (["i1", "i2"], ["i3"]),
    ]
    assert list(rows_of("u", items, "train", 2, 2, 1)) == train[-1:]


def test_users_with_too_few_only_train() -> None:
    items = [(f"i{n}", n) for n in range(4)]
    assert cuts(4, 2) == (4, 4)
    assert not list(rows_of("u", items, "test", 2, 3, None))
    assert not list(rows_of("u", items, "validation", 2, 3, None))
    train = rows_of("u", items, "train", 2, 3, None)
    assert [row["positives"] for row in train] == [["i1"], ["i2"], ["i3"]]


def test_nothing_of_the_future_is_seen(tmp_path: Path) -> None:
    rng = random.Random(0)

    def event(user: int) -> tuple[str, str, str]:
        return f"u{user}", f"i{rng.randrange(40)}", str(rng.randrange(25))

    given = []
    for user in range(12):
        given += [event(user) for _ in range(rng.randrange(3, 20))]
    name = write(tmp_path / "a.csv", given)
    first: dict[tuple[str, str], int] = {}
    for user, item, time in given:
        first[user, item] = min(int(time), first.get((user, item), 99))
    golds = {}
    for split in ("train", "validation", "test"):
        golds[split] = {(row["user"], i) for row in rows(name, split) for i in row["positives"]}
    assert golds["test"]
    assert not golds["train"] & golds["validation"]
    assert not (golds["train"] | golds["validation"]) & golds["test"]
    for split in golds:
        for row in rows(name, split):
            earliest = min(first[row["user"], i] for i in row["positives"])
            assert all(first[row["user"], i] <= earliest for i in row["history"])
            assert not set(row["history"]) & set(row["positives"])
            assert not {(row["user"], i) for i in row["history"]} & golds["test"]


def test_the_order_of_the_file_does_not_matter_where_times_differ(tmp_path: Path) -> None:
    given = [(f"u{n % 3}", f"i{n}", str(n)) for n in range(24)]
    shuffled = random.Random(1).sample(given, len(given))
    by_user = []
    for name in (write(tmp_path / "a.csv", given), write(tmp_path / "b.csv", shuffled)):
        found = rows(name, "test")
        by_user.append({row["user"]: (row["history"], row["positives"]) for row in found})
    assert by_user[0] == by_user[1]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    given = [
        ("a", "x", "1", "5"),
        ("a", "y", "2", "1.5"),
        ("a", "x", "3", "4"),
        ("b", "x", "1", "4"),
    ]
    name = write(tmp_path / "a.csv", given, ("user", "item", "time", "stars"))
    found = read(Source(name), RATED, "")
    assert found.users == {"a": [("x", 2)], "b": [("x", 5)]}
    assert survey(found, 5) == [
        "2 of 2 users have at most 10 items: they only train (data.held_out)",
        "1 interactions are with an item that the user had before, and left out",
        "1 interactions are rated below data.min_rating, and left out",
    ]
    assert survey(read(Source(name), COLUMNS, ""), 1)[-1].startswith(
        "1 interactions are with an item"
    )


def test_faults_name_the_line(tmp_path: Path) -> None:
    cases = [
        (
            ("a", "x", "soon"),
            "a.csv:3: column time holds 'soon', which is no time; write seconds or a date",
        ),
        (("a", "", "1"), "a.csv:3: column item is empty"),
        ((" ", "x", "1"), "a.csv:3: column user is empty"),
        (("a", "x", ""), "a.csv:3: column time holds '', which is no time"),
    ]

    def check(row: tuple[str, ...], words: str) -> None:
        name = write(tmp_path / "a.csv", [("a", "y", "1"), row])
        with pytest.raises(UserError, match=r"a\.csv") as error:
            rows(name, "train")
        assert words in str(error.value)

    each(cases, check)


def test_a_rating_that_is_no_number(tmp_path: Path) -> None:
    name = write(tmp_path / "a.csv", [("a", "y", "1", "good")], ("user", "item", "time", "stars"))
    with pytest.raises(UserError, match=r"a\.csv:2: column stars holds 'good', which is no number"):
        read(Source(name), RATED, "")


def test_the_text_of_a_user_begins_with_the_latest() -> None:
    assert user_text(["first", "last"]) == "last; first"
    assert user_text([]) == ""
