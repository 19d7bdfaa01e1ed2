"""Folds of train for cross-validation: pure functions of classes, groups and a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from ftlight.utils.errors import UserError, join_limited


def read_fold(
    fold: int | None, folds: int | None, validation: str | None, shots: int | None
) -> tuple[int, int] | None:
    """Checks the options of a fold. Returns its number and how many there are; None without folds.

    Args:
        fold: number of the fold that is the validation data.
        folds: number of folds.
        validation: other validation data.
        shots: rows of each class to train on.

    Raises:
        UserError: there is no such fold, or something else does not go with folds.
    """
    if fold is None and folds is None:
        return None
    if fold is None or folds is None:
        raise UserError("data.fold, data.folds: give both; fit --folds N trains on all in turn")
    if fold >= folds:
        raise UserError(f"data.fold: {fold} is none of {folds} folds, which are 0 to {folds - 1}")
    if shots is not None:
        raise UserError("data.folds: the rows of data.shots are too few to divide; leave it out")
    check_validation(validation)
    return fold, folds


def check_validation(name: str | None) -> None:
    """Checks that nothing but a fold is the validation data.

    Raises:
        UserError: something is.
    """
    if name:
        raise UserError(
            f"data.folds: each fold of train is the validation data in its turn, and {name} would"
            " be left unused; take data.validation out, or add its rows to data.train"
        )


class Rows(NamedTuple):
    """Rows that are to be divided.

    Attributes:
        number: how many there are.
        groups: group of each, which stays whole; "" for a row by itself. None for no groups.
        classes: the only class of each; None without.
        labels: the labels of each; None without.
        values: the number that is learned of each; None if it is none.
    """

    number: int
    groups: Sequence[str] | None
    classes: Sequence[str] | None
    labels: Sequence[Sequence[str]] | None
    values: Sequence[float] | None

    def folds(self, folds: int, seed: int, place: str) -> np.ndarray:
        """The fold of each row, ``int64 [rows]``.

        Args:
            folds: number of folds.
            seed: seed of the folds.
            place: file of the rows, for errors.

        Raises:
            UserError: there are too few rows, or a class has none outside of a fold.
        """
        if self.classes is not None and (names := alone(self.classes, self.groups)):
            raise UserError(
                f"{place}: the rows of some labels would all be in one of the {folds} folds, since"
                " there is one row of each, or the same one repeated:"
                f" {join_limited(names)}; add rows, join such labels, or take them out"
            )
        labels: Sequence[Sequence[Hashable]] | None = self.labels
        if labels is None and self.values is not None:
            labels = strata(self.values, folds)
        of = assign(labels, self.groups, self.number, folds, seed)
        if len(set(of.tolist())) < folds:
            raise UserError(
                f"{place}: {self.number} rows are too few for {folds} folds"
                " (rows that must stay together are in one)"
            )
        return of

    def notes(self, folds: int) -> list[str]:
        """Lines about classes that some folds lack."""
        counts = Counter(self.classes or ())
        few = [name for name, rows in counts.items() if rows < folds]
        listed = join_limited(few)
        return [f"some folds have no rows of {listed}: too few (data.folds)"] if few else []


def assign(
    labels: Sequence[Sequence[Hashable]] | None,
    groups: Sequence[str] | None,
    rows: int,
    folds: int,
    seed: int,
) -> np.ndarray:
    """Gives each row one fold, so that folds have as many rows, and rows of each label, as can be.

    Groups come first, the largest before others, each to the fold that has the least of its labels
    and rows. Then single rows are dealt label by label, the rarest first, to the fold that has the
    fewest of it (Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label
    data"). Of rows with one label and without groups, folds then differ by one row at most, in all
    and of each label.

    Args:
        labels: labels of each row; None for folds by number of rows alone.
        groups: group of each row, which stays whole; "" for a row by itself. None for no groups.
        rows: number of rows.
        folds: number of folds.
        seed: seed of the folds.

    Returns:
        The fold of each row, ``int64 [rows]``.
    """
    rng = np.random.default_rng(seed)
    units = _units(groups, rows)
    units = [units[i] for i in rng.permutation(len(units))]
    deal = _Deal(labels, rows, rng.permutation(folds).tolist())
    several = sorted((unit for unit in units if len(unit) > 1), key=len, reverse=True)
    for unit in several:
        deal.give(unit, deal.emptiest(deal.tally(unit)))
    holders: dict[Hashable, list[int]] = {}
    for row in (unit[0] for unit in units if len(unit) == 1):
        for label in deal.labels_of(row):
            holders.setdefault(label, []).append(row)
    for label in sorted(holders, key=lambda name: (len(holders[name]), str(name))):
        for row in holders[label]:
            if deal.of[row] < 0:
                deal.give([row], deal.fewest(label))
    return deal.of


class _Deal:
    """Rows given to folds so far.

    Attributes:
        of: the fold of each row, -1 before it has one.
        counts: rows of each fold by label; ``None`` is a label of all rows.
    """

    def __init__(
        self, labels: Sequence[Sequence[Hashable]] | None, rows: int, order: list[int]
    ) -> None:
        self._labels, self._order = labels, order
        self.of = np.full(rows, -1)
        self._totals = self.tally(range(rows))
        self.numbers = {label: [0] * len(order) for label in self._totals}

    def labels_of(self, row: int) -> list[Hashable]:
        """Labels of a row; that of all rows comes last."""
        own = () if self._labels is None else self._labels[row]
        return [*dict.fromkeys(own), None]

    def tally(self, rows: Sequence[int]) -> Counter[Hashable]:
        """How many of some rows have each label."""
        return Counter(label for row in rows for label in self.labels_of(row))

    def give(self, rows: Sequence[int], fold: int) -> None:
        """Gives rows to a fold."""
        self.of[list(rows)] = fold
        for label, count in self.tally(rows).items():
            self.numbers[label][fold] += count

    def fewest(self, label: Hashable) -> int:
        """The fold with the fewest rows of a label, and of such folds the smallest."""
        own, sizes = self.numbers[label], self.numbers[None]
        return min(self._order, key=lambda fold: (own[fold], sizes[fold]))

    def emptiest(self, tally: Counter[Hashable]) -> int:
        """The fold that has the least shares of some labels, each weighed by how many are added."""

        def share(fold: int) -> float:
            return sum(n * self.numbers[x][fold] / self._totals[x] for x, n in tally.items())

        return min(self._order, key=share)


def _units(groups: Sequence[str] | None, rows: int) -> list[list[int]]:
    """Rows that stay together, in the order of their first ones."""
    if groups is None:
        return [[row] for row in range(rows)]
    found: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        found.setdefault(group or row, []).append(row)
    return list(found.values())


def strata(values: Sequence[float], folds: int) -> list[list[int]]:
    """Numbers as labels for :func:`assign`: as many neighbours by size as there are folds are one.

    >>> strata([0.5, 9.0, 0.1, 7.0], 2)
    [[0], [1], [0], [1]]
    """
    ranks = np.argsort(np.argsort(np.asarray(values, float), kind="stable"), kind="stable")
    return [[int(rank) // folds] for rank in ranks]


def alone(classes: Sequence[str], groups: Sequence[str] | None) -> list[str]:
    """Classes whose rows all are in one group, or that have one row: a fold takes them all.

    >>> alone(["a", "a", "b", "b", "c"], ["1", "2", "3", "3", ""])
    ['b', 'c']
    """
    groups = groups or [""] * len(classes)
    places: dict[str, set[Hashable]] = {}
    for row, (name, group) in enumerate(zip(classes, groups, strict=True)):
        places.setdefault(name, set()).add(group or row)
    return sorted(name for name, found in places.items() if len(found) < 2)
