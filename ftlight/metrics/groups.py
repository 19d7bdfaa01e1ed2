"""Scores of groups of rows: how far apart they are, and which differ by more than chance.

The summary has the names of fairlearn's MetricFrame: group_min, group_max, difference, ratio.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ftlight.metrics.statistics import two_sided

LEAST = 30  # rows of a group, and of the rest


def large(groups: Sequence[str]) -> list[str]:
    """Names of the groups with at least 30 rows, by name; rows without one ("") are none.

    >>> large(["a"] * 30 + ["b"] * 29 + [""] * 40)
    ['a']
    """
    return sorted(name for name, rows in Counter(groups).items() if name and rows >= LEAST)


def p_values(groups: Sequence[str], scores: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """How likely so great a difference of each group from the rest is if there is none.

    A z-test of the means, with the variance of all rows: for right and wrong that of two shares.
    Rows without a group belong to the rest.

    Args:
        groups: group of each row.
        scores: score of each row ``float [rows]``.
        names: groups to test; one is left out if it, or the rest, has fewer than 30 rows.

    Returns:
        Two-sided p-values by group, not adjusted for their number.
    """
    of_rows, found = np.asarray(groups, object), {}
    spread = float(np.std(scores))
    for name in names:
        inside = of_rows == name
        rows, others = int(inside.sum()), int((~inside).sum())
        if min(rows, others) < LEAST:
            continue
        error = spread * math.sqrt(1 / rows + 1 / others)
        difference = float(scores[inside].mean() - scores[~inside].mean())
        found[name] = two_sided(difference / error) if error else 1.0
    return found


def summary(scores: Mapping[str, float]) -> dict[str, Any]:
    """How far apart the scores of groups are.

    Args:
        scores: group to score; those that are nan do not count.

    Returns:
        ``group_min``, ``group_max``, their ``difference``, and their ``ratio``, which is None if
        one is below 0; empty for fewer than two groups.

    >>> summary({"a": 0.75, "b": 0.5, "c": math.nan})
    {'group_min': 0.5, 'group_max': 0.75, 'difference': 0.25, 'ratio': 0.6666666666666666}
    """
    values = [score for score in scores.values() if math.isfinite(score)]
    if len(values) < 2:
        return {}
    low, high = min(values), max(values)
    ratio = low / high if low >= 0 < high else None
    return {"group_min": low, "group_max": high, "difference": high - low, "ratio": ratio}
