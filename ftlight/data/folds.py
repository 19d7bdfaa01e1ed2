"""Folds of train for cross-validation: pure functions of classes, groups and a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from ftlight.utils.errors import UserError


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


def assign(
    labels: Sequence[Sequence[Hashable]] | None,
    groups: Sequence[str] | None,
    rows: int,
    folds: int,
    seed: int,
) -> np.ndarray:
    """Gives each row one fold, so that folds have as many rows, and rows of each label, as can be.

    Labels are dealt one by one, the rarest first, to the fold that has the fewest rows of it
    (Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label data"). Of rows
    with one label and without groups, folds then differ by one row at most, in all and of each
    label.

    Args:
        labels: labels of each row; None for folds by number of rows alone.
        groups: group of each row, which stays whole; "" for a row by itself. None for no groups.
        rows: number of rows.
        folds: number of folds.
        seed: seed of the folds.

    Returns:
        The fold of each row, ``int64 [rows]``.

    >>> assign([["a"], ["a"], ["b"], ["b"]], None, 4, 2, 0).tolist()
    [1, 0, 1, 0]
    """
    rng = np.random.default_rng(seed)
    units = _units(groups, rows)
    order, ties = rng.permutation(len(units)).tolist(), rng.permutation(folds).tolist()
    of_unit = [_tally(labels, unit) for unit in units]
    holders: dict[Hashable, list[int]] = {}
    for number in order:
        for label in of_unit[number]:
            holders.setdefault(label, []).append(number)
    totals = {label: sum(of_unit[i][label] for i in known) for label, known in holders.items()}
    found, sizes = np.full(rows, -1), [0] * folds
    counts = {label: [0] * folds for label in holders}
    steps = [(label, holders[label]) for label in sorted(totals, key=lambda x: (totals[x], str(x)))]
    for dealt, numbers in [*steps, (None, order)]:
        left = [number for number in numbers if found[units[number][0]] < 0]
        for number in sorted(left, key=lambda n: -len(units[n])):
            own = counts[dealt] if dealt is not None else sizes
            fold = min(range(folds), key=lambda f: (own[f], sizes[f], ties[f]))  # noqa: B023
            found[units[number]] = fold
            sizes[fold] += len(units[number])
            for label, count in of_unit[number].items():
                counts[label][fold] += count
    return found


def _units(groups: Sequence[str] | None, rows: int) -> list[list[int]]:
    """Rows that stay together, in the order of their first ones."""
    if groups is None:
        return [[row] for row in range(rows)]
    found: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        found.setdefault(group or row, []).append(row)
    return list(found.values())


def _tally(labels: Sequence[Sequence[Hashable]] | None, unit: Sequence[int]) -> Counter[Hashable]:
    """How many of some rows have each label."""
    if labels is None:
        return Counter()
    return Counter(label for row in unit for label in dict.fromkeys(labels[row]))


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
