"""Rows that stand twice: in a split, with another label, or in train and in what measures it."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.utils.errors import UserError

LEAST = 100  # rows of a split from which on nearly all being in train is no try-out and no chance


class Inputs(NamedTuple):
    """What the rows of a split are made of.

    Attributes:
        keys: what tells the input of each row; empty for a row without any, which is like no other.
        answers: what each row should give, where rows of the same input should agree.
        rows: the rows as read.
        file: file of the split, where it has one of its own.
    """

    keys: Sequence[str]
    answers: Sequence[Any] | None
    rows: Any
    file: str | None


def key(*texts: str) -> str:
    """What tells texts from others but for case, spaces and forms of letters; empty where there is nothing but spaces.

    >>> key("Late  parcel") == key("late parcel "), key("a", "b") == key("a b"), key(" ", "")
    (True, False, '')
    """
    plain = [" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in texts]
    return (
        hashlib.blake2b("\0".join(plain).encode("utf-8", "replace"), digest_size=12).hexdigest()
        if any(plain)
        else ""
    )


def _place(row: Mapping[str, Any]) -> str:
    return str(row["image"]) if "image" in row else f"line {row['line']}"


def repeated(inputs: Inputs) -> tuple[int, list[tuple[int, int]]]:
    """How many rows repeat one above them, and those that do with another answer, each with the first of its kind.

    >>> repeated(Inputs(["x", "y", "x", "x"], ["a", "b", "a", "c"], [], None))
    (2, [(0, 3)])
    """
    first: dict[str, int] = {}
    count, odd = 0, []
    for i, found in enumerate(inputs.keys):
        at = first.setdefault(found, i) if found else i
        count += at != i
        if inputs.answers is not None and inputs.answers[at] != inputs.answers[i]:
            odd.append((at, i))
    return count, odd


def _check(splits: Mapping[str, Inputs], most: float) -> None:
    """Refuses a file for validation or test that is nearly all in train, or in what is held out of it."""
    known = {k for inputs in splits.values() if not inputs.file for k in inputs.keys} | set(
        splits["train"].keys
    )
    for name, inputs in splits.items():
        size, shared = len(inputs.keys), sum(k in known for k in inputs.keys if k)
        if name != "train" and inputs.file and size >= LEAST and shared > most * size:
            raise UserError(
                f"{inputs.file}: {shared:,} of {size:,} rows of {name} are in train too, so that scores would say nothing of new data;"
                " give other rows, or set data.max_overlap: 1"
            )


def survey(splits: Mapping[str, Inputs], most: float) -> list[str]:
    """What a person should know of rows that stand twice.

    Args:
        splits: what the rows of each split are made of, train first.
        most: share of the rows of a split with a file of its own that may be in train.

    Raises:
        UserError: more of them are.
    """
    notes: list[str] = []
    if "train" in splits:
        _check(splits, most)
    for name, inputs in splits.items():
        size = len(inputs.keys)
        count, odd = repeated(inputs) if inputs.answers is not None else (0, [])
        notes += [f"{name}: {count:,} of {size:,} rows repeat another"] if count else []
        if odd:
            example = " and ".join(_place(inputs.rows[i]) for i in odd[0])
            notes.append(
                f"{name}: {len(odd):,} rows repeat another and have a different label (for example {example})"
            )
    names = list(splits)
    for place, name in enumerate(names):
        for before in names[:place]:
            there = set(splits[before].keys) - {""}
            shared = sum(k in there for k in splits[name].keys)
            notes += (
                [f"{name}: {shared:,} of {len(splits[name].keys):,} rows are in {before} too"]
                if shared
                else []
            )
    return notes
