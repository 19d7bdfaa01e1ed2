"""Rows of one source gathered, with all their references."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import datasets

from ftlight.data import tables


def alike(keys: Iterable[Hashable]) -> list[list[int]]:
    """Numbers of the rows of each key, in the order in which keys first occur.

    >>> alike("abac")
    [[0, 2], [1], [3]]
    """
    rows: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        rows.setdefault(key, []).append(i)
    return list(rows.values())


def gather(table: datasets.Dataset, by: str) -> datasets.Dataset:
    """Joins rows of equal ``by``: the first, with all their targets as ``references``."""
    groups, targets = alike(table[by][:]), table["target"][:]
    references = [[targets[i] for i in rows] for rows in groups]
    firsts = table.select([rows[0] for rows in groups])
    return tables.with_column(firsts.remove_columns("target"), "references", references)
