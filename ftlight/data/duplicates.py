"""Rows that occur twice: in a split, with another label, or in train and in what measures it."""

from __future__ import annotations

import hashlib
import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.utils.errors import UserError

LEAST = 100  # rows; in smaller files an overlap with train may be a try-out or chance


class Inputs(NamedTuple):
    """The rows of a split, by what makes them alike.

    Attributes:
        keys: key of each row's input; empty for a row without one, which equals no other.
        answers: value of each row on which rows with the same input should agree, if any.
        rows: the rows as read.
        file: file of the split, if it has one of its own.
    """

    keys: Sequence[str]
    answers: Sequence[Any] | None
    rows: Any
    file: str | None


def key(*texts: str) -> str:
    """A key of texts that ignores case, spaces and forms of letters; empty if all are blank.

    >>> key("Late  parcel") == key("late parcel "), key("a", "b") == key("a b"), key(" ", "")
    (True, False, '')
    """
    plain = [" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in texts]
    if not any(plain):
        return ""
    joined = "\0".join(plain).encode("utf-8", "replace")
    return hashlib.blake2b(joined, digest_size=12).hexdigest()


def _place(row: Mapping[str, Any]) -> str:
    return str(row["image"]) if "image" in row else f"line {row['line']}"


def repeated(inputs: Inputs) -> tuple[int, list[tuple[int, int]]]:
    """Finds rows that repeat one above them.

    Returns:
        How many do, and those that do with another answer, each with the first of its kind.

    >>> repeated(Inputs(["x", "y", "x", "x"], ["a", "b", "a", "c"], [], None))
    (2, [(0, 3)])
    """
    first: dict[str, int] = {}
    count, differing = 0, []
    for i, row_key in enumerate(inputs.keys):
        original = first.setdefault(row_key, i) if row_key else i
        count += original != i
        if inputs.answers is not None and inputs.answers[original] != inputs.answers[i]:
            differing.append((original, i))
    return count, differing


def _check(splits: Mapping[str, Inputs], most: float) -> None:
    """Refuses a validation or test file that is nearly all in train, or in what it held out."""
    known = set(splits["train"].keys)
    for inputs in splits.values():
        if not inputs.file:
            known.update(inputs.keys)
    for name, inputs in splits.items():
        size, shared = len(inputs.keys), sum(k in known for k in inputs.keys if k)
        if name != "train" and inputs.file and size >= LEAST and shared > most * size:
            raise UserError(
                f"{inputs.file}: {shared:,} of {size:,} rows of {name} are in train too, so that"
                " scores would say nothing of new data; give other rows, or set data.max_overlap: 1"
            )


def survey(splits: Mapping[str, Inputs], most: float) -> list[str]:
    """Notes of rows that occur twice.

    Args:
        splits: the rows of each split, train first.
        most: largest share of the rows of a file of validation or test that may be in train.

    Raises:
        UserError: more of them are.
    """
    notes: list[str] = []
    if "train" in splits:
        _check(splits, most)
    for name, inputs in splits.items():
        size = len(inputs.keys)
        count, differing = repeated(inputs) if inputs.answers is not None else (0, [])
        if count:
            notes.append(f"{name}: {count:,} of {size:,} rows repeat another")
        if differing:
            example = " and ".join(_place(inputs.rows[i]) for i in differing[0])
            notes.append(
                f"{name}: {len(differing):,} rows repeat another and have a different label"
                f" (for example {example})"
            )
    for before, name in itertools.combinations(splits, 2):
        keys, others = splits[name].keys, set(splits[before].keys) - {""}
        shared = sum(k in others for k in keys)
        if shared:
            notes.append(f"{name}: {shared:,} of {len(keys):,} rows are in {before} too")
    return notes
