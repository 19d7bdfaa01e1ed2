"""Rows that occur twice: in a split, with another label, or in train and in what measures it."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations, pairwise
from typing import Any

import numpy as np

from ftlight.data import near
from ftlight.data.findings import Finding, Rows, count_of
from ftlight.utils.errors import shortened
from ftlight.utils.format import counted

LEAST = 100  # rows of a file; in smaller ones an overlap with train may be a try-out or chance
OVERLAP = 0.9  # share of such a file in train that ends a run
WHOLE = 200_000  # rows of train; of more a sample is compared with all, and what measures
SAMPLE = 20_000
DROP = "to take such rows out of train set data.on_leak: drop"


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


def repeated(
    keys: Sequence[str], answers: Sequence[Any] | None = None
) -> tuple[list[int], list[tuple[int, int]]]:
    """Finds rows that repeat one above them.

    Returns:
        Those rows, and those that do with another answer, each with the first of its kind.

    >>> repeated(["x", "y", "x", "x"], ["a", "b", "a", "c"])
    ([2, 3], [(0, 3)])
    """
    first: dict[str, int] = {}
    found, differing = [], []
    for row, row_key in enumerate(keys):
        original = first.setdefault(row_key, row) if row_key else row
        if original != row:
            found.append(row)
            if answers is not None and answers[original] != answers[row]:
                differing.append((original, row))
    return found, differing


def shared(keys: Sequence[str], others: Sequence[str]) -> list[int]:
    """Rows with a key that is among others."""
    known = set(others) - {""}
    return [row for row, row_key in enumerate(keys) if row_key in known]


class Alike:
    """Rows of all splits that are the same, or nearly.

    Args:
        splits: the rows of each split, train first; those without keys are left out.

    Attributes:
        twins: for each split but train, how like the nearest row of train each row is, as a Jaccard
            index ``float [rows]``; 1 if they are the same, 0 if none is like it.
        leaked: rows of train that repeat one of another split, the same or nearly ``int64``.
    """

    def __init__(self, splits: Mapping[str, Rows]) -> None:
        self.splits = {name: rows for name, rows in splits.items() if rows.keys is not None}
        self.keys = {name: rows.keys or () for name, rows in self.splits.items()}
        self.sizes = {name: len(keys) for name, keys in self.keys.items()}
        ends = np.cumsum([0, *self.sizes.values()]).tolist()
        self.spans = dict(zip(self.splits, pairwise(ends), strict=False))
        self.drawn = np.zeros(0, int)  # rows of train that were compared, if not all
        self.pairs = self._near()
        self.twins = {name: self._twins(name) for name in self.splits if name != "train"}
        self.leaked = self._leaked()

    def _near(self) -> near.Pairs:
        """Pairs of rows of all splits that are nearly the same."""
        everything = list(self.splits.values())
        if not everything or any(rows.parts is None for rows in everything):
            return near.Pairs(np.zeros(0, int), np.zeros(0, int), np.zeros(0))
        parts = [
            list(chain.from_iterable(texts))
            for texts in zip(*(rows.parts or () for rows in everything), strict=True)
        ]
        train = self.sizes.get("train", 0)
        if train <= WHOLE:
            return near.find(parts)
        self.drawn = np.sort(np.random.default_rng(0).choice(train, SAMPLE, replace=False))
        asked = np.ones(len(parts[0]), bool)
        asked[:train] = False
        asked[self.drawn] = True
        return near.find(parts, asked)

    def between(self, one: str, other: str) -> near.Pairs:
        """Pairs of a row of one split and a row of another, or of two rows of a split."""
        first, second, index = self.pairs
        (start, end), (begin, stop) = self.spans[one], self.spans[other]
        inside = (first >= start) & (first < end) & (second >= begin) & (second < stop)
        return near.Pairs(first[inside] - start, second[inside] - begin, index[inside])

    def nearest(self, one: str, other: str) -> dict[int, tuple[int, float]]:
        """For rows of the other split the most similar row of the first, with the index."""
        pairs = self.between(one, other)
        order = np.argsort(pairs.likeness, kind="stable")
        rows = zip(*(array[order].tolist() for array in pairs), strict=True)
        return {second: (first, index) for first, second, index in rows}

    def _twins(self, name: str) -> np.ndarray:
        found = np.zeros(self.sizes[name])
        if "train" in self.splits:
            pairs = self.between("train", name)
            np.maximum.at(found, pairs.second, pairs.likeness)
            found[shared(self.keys[name], self.keys["train"])] = 1.0
        return found

    def _leaked(self) -> np.ndarray:
        leaked = set[int]()
        for name in self.twins if "train" in self.splits else ():
            pairs = self.between("train", name)
            leaked.update(pairs.first[pairs.likeness >= near.REPEATS].tolist())
            leaked.update(shared(self.keys["train"], self.keys[name]))
        return np.array(sorted(leaked), int)

    def leaks(self, forbids: bool) -> Iterator[Finding]:
        """Rows of a split that are in an earlier one too, the same or nearly.

        Args:
            forbids: whether a row of train in another split is to end the run.
        """
        for before, name in combinations(self.splits, 2):
            of_train = before == "train"
            same = shared(self.keys[name], self.keys[before])
            if of_train and (finding := self._overlap(name)):
                yield finding
            elif same:
                message = f"{count_of(len(same), self.sizes[name])} are in {before} too"
                yield Finding(
                    *("stop" if of_train and forbids else "look", "leak", name, message),
                    *(len(same), self.splits[name].lines(same)),
                    option=DROP if of_train else "",
                )
            taken = set(same)
            nearest = self.nearest(before, name).items()
            nearly = {row: twin for row, twin in nearest if row not in taken}
            leaks = {row: twin for row, twin in nearly.items() if twin[1] >= near.REPEATS}
            close = {row: twin for row, twin in nearly.items() if twin[1] < near.REPEATS}
            level = "know" if not of_train else "stop" if forbids else "look"
            if leaks:
                yield self._like(level, "near leak", name, before, leaks)
            if close and of_train:
                yield self._like("look", "close", name, before, close)

    def _overlap(self, name: str) -> Finding | None:
        """A file of validation or test that is nearly all in train, or in what train held out."""
        rows = self.splits[name]
        inside = [k for n, k in self.keys.items() if n == "train" or not self.splits[n].file]
        known = [row_key for keys in inside for row_key in keys]
        found = shared(self.keys[name], known) if rows.file else []
        size = self.sizes[name]
        if size < LEAST or len(found) <= OVERLAP * size:
            return None
        message = f"{count_of(len(found), size)} are in train too"
        way_out = "scores would say nothing of new data; give other rows, or set data.check: off"
        return Finding(
            *("stop", "overlap", name, message, len(found), rows.lines(found)),
            option=f"{way_out} to train all the same",
        )

    def _like(
        self, level: Any, kind: str, name: str, other: str, twins: Mapping[int, tuple[int, float]]
    ) -> Finding:
        """A finding of rows that are like one of another split."""
        how = "nearly repeat" if kind == "near leak" else "are close to"
        row = max(twins, key=lambda row: (twins[row][1], -row))
        return Finding(
            *(level, kind, name),
            f"{count_of(len(twins), self.sizes[name])} {how} one of {other}",
            *(len(twins), self.splits[name].lines(sorted(twins))),
            self._pair(name, row, other, twins[row][0]),
            DROP if kind == "near leak" and other == "train" else "",
        )

    def _pair(self, name: str, row: int, other: str, twin: int) -> str:
        """Two rows in words."""
        sides = []
        for split, number in ((name, row), (other, twin)):
            rows = self.splits[split]
            of = f" of {split}" if split != name else ""
            text = f" {shortened(rows.parts[0][number])!r}" if rows.parts else ""
            sides.append(f"{place(rows.places[number])}{of}{text}")
        return " and ".join(sides)

    def conflicts(self) -> Iterator[Finding]:
        """Rows with the same input, or nearly, and different labels."""
        for name, rows in self.splits.items():
            if rows.answers is None:
                continue
            _, differing = repeated(self.keys[name], rows.answers)
            found = [row for _, row in differing]
            if found:
                message = f"{counted(len(found), 'row', 'repeat')} another with a different label"
                example = " and ".join(place(rows.places[i]) for i in differing[0])
                yield Finding(
                    *("look", "conflict", name, message, len(found), rows.lines(found), example)
                )
            nearly = self._near_conflicts(name) if rows.labels is not None else {}
            nearly = {row: twin for row, twin in nearly.items() if row not in set(found)}
            if nearly:
                rows_repeat = counted(len(nearly), "row", "repeat")
                message = f"{rows_repeat} another nearly, with a different label"
                twin, row = next((twin, row) for row, twin in nearly.items())
                example = self._pair(name, twin, name, row)
                lines = rows.lines(sorted(nearly))
                yield Finding(
                    *("look", "near conflict", name, message, len(nearly), lines, example)
                )

    def _near_conflicts(self, name: str) -> dict[int, int]:
        """Rows with other labels than one that they nearly repeat, and that one."""
        labels, pairs = self.splits[name].labels or (), self.between(name, name)
        found: dict[int, int] = {}
        for first, second, index in zip(*(array.tolist() for array in pairs), strict=True):
            if index >= near.REPEATS and set(labels[first]) != set(labels[second]):
                found.setdefault(second, first)
        return found

    def repeats(self) -> Iterator[Finding]:
        """Rows that repeat an earlier one of their split, the same or nearly."""
        for name, rows in self.splits.items():
            same, _ = repeated(self.keys[name])
            if same and rows.answers is not None:
                message = f"{count_of(len(same), self.sizes[name])} repeat another"
                yield Finding("look", "repeats", name, message, len(same), rows.lines(same))
            pairs, taken = self.between(name, name), set(same)
            is_like = pairs.likeness >= near.REPEATS
            found, of = set(pairs.second[is_like].tolist()), ""
            if name == "train" and len(self.drawn):
                both = np.concatenate([pairs.first[is_like], pairs.second[is_like]])
                found, of = set(np.intersect1d(both, self.drawn)), f" of {SAMPLE:,} rows drawn"
            numbers = sorted(found - taken)
            if numbers:
                message = f"{counted(len(numbers), 'row', 'repeat')} another nearly"
                if of:
                    message = f"{len(numbers):,}{of} nearly repeat another"
                yield Finding(
                    *("know", "near repeats", name, message, len(numbers), rows.lines(numbers))
                )


def place(where: object) -> str:
    """Where a row was read, in words."""
    return f"line {where}" if isinstance(where, int) else str(where)
