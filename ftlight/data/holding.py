"""Rows held out of train, or drawn from it: pure functions of their classes and a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def _codes(classes: Sequence[str]) -> np.ndarray:
    """Number of each row's class ``[rows]``: far faster than sorting a million strings."""
    number = {name: i for i, name in enumerate(sorted(set(classes)))}
    return np.fromiter((number[name] for name in classes), dtype=np.int64, count=len(classes))


def hold_out(
    classes: Sequence[str] | None, rows: int, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Splits rows into kept and held out, by a seed; stratified if classes are given.

    Every class with at least two rows keeps one and, if its share rounds to one, gives one; a class
    with one row stays, where it can be learned.

    Args:
        classes: class of each row, or None for an unstratified split.
        rows: number of rows.
        share: share to hold out, 0 to 1.
        seed: seed of the split.

    Returns:
        Indices kept and held out, each ascending.
    """
    rng = np.random.default_rng(seed)
    if classes is None:
        held = rng.permutation(rows)[: max(1, round(rows * share))]
    else:
        codes = _codes(classes)
        order = rng.permutation(rows)
        order = order[np.argsort(codes[order], kind="stable")]
        counts = np.bincount(codes)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        # rounded over the running total, so that many small classes together give the asked share
        totals = np.floor(np.cumsum(counts) * share + 0.5 + 1e-9).astype(int)
        takes = np.minimum(np.diff(totals, prepend=0), np.maximum(counts - 1, 0))
        held = np.concatenate([order[s : s + t] for s, t in zip(starts, takes, strict=True)])
    kept = np.setdiff1d(np.arange(rows), held)
    return kept, np.sort(held)


def hold_out_groups(
    groups: Sequence[str], share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Splits rows into kept and held out, all of a group on the same side.

    Args:
        groups: group of each row.
        share: share of the groups to hold out, 0 to 1.
        seed: seed of the split.

    Returns:
        Indices kept and held out, each ascending.
    """
    codes = _codes(groups)
    _, chosen = hold_out(None, int(codes.max()) + 1, share, seed)
    held = np.isin(codes, chosen)
    return np.flatnonzero(~held), np.flatnonzero(held)


def shots(classes: Sequence[str], count: int, seed: int) -> np.ndarray:
    """Draws ``count`` rows of each class by a seed; all of a class that has fewer.

    Returns:
        Indices, ascending.
    """
    codes = _codes(classes)
    order = np.random.default_rng(seed).permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]  # by class, each in random order
    sizes = np.bincount(codes)
    place = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[place < count])


def nested(classes: Sequence[str] | None, rows: int, seed: int) -> np.ndarray:
    """An order of rows whose first so many are a draw: one of each class first, the rest at random.

    Args:
        classes: class of each row; None without.
        rows: number of rows.
        seed: seed of the order.

    >>> nested(["a", "a", "a", "b"], 4, 0)[:2].tolist()
    [2, 3]
    """
    order = np.random.default_rng(seed).permutation(rows)
    if classes is None:
        return order
    places: dict[str, int] = {}
    for place, row in enumerate(order.tolist()):
        places.setdefault(classes[row], place)
    first = np.fromiter(places.values(), np.int64)
    return np.concatenate([order[first], np.delete(order, first)])
