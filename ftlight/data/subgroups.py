"""Whether a label falls to one group of rows far more often than to the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ftlight.metrics.groups import LEAST
from ftlight.metrics.statistics import holm, two_sided

RATIO = 0.8  # of the shares of a label: the four-fifths rule of the US EEOC (1978)
APART, TIMES = 0.1, 2  # difference of the shares, at least; or, of rare labels, their ratio
SPREAD = 0.5  # difference of means of numbers, in standard deviations (a medium effect, Cohen 1988)
ALARM = 0.01  # p-value, after Holm's correction


class Gap(NamedTuple):
    """A label that one group has more often, or less, than the rest; or numbers that differ.

    Attributes:
        group: value of the column.
        label: the label; empty for numbers.
        rows: rows of the group.
        inside: share of the label, or mean, in the group.
        outside: the same of all other rows.
        p: p-value of the difference.
    """

    group: str
    label: str
    rows: int
    inside: float
    outside: float
    p: float


def of_labels(groups: Sequence[str], labels: Sequence[Sequence[str]]) -> list[Gap]:
    """Labels that are far more, or less, frequent in a group: the widest gap of each label.

    Compares each group of at least 30 rows with all other rows by the z-test of two shares, at 1 %
    after Holm's correction. A gap counts if the smaller share is below four fifths of the larger
    one, and they are 0.1 apart or one is twice the other.

    Args:
        groups: group of each row; empty if it is not known.
        labels: classes of each row.

    >>> of_labels(["a", "b"] * 50, [["yes"], ["no"]] * 50)[0][:5]
    ('a', 'yes', 50, 1.0, 0.0)
    """
    sizes, totals = Counter(groups), Counter[str]()
    together = Counter[tuple[str, str]]()
    for group, members in zip(groups, labels, strict=True):
        totals.update(members)
        together.update((group, label) for label in members)
    gaps = []
    for group, rows in sizes.items():
        others = len(groups) - rows
        if not group or min(rows, others) < LEAST:
            continue
        for label, total in totals.items():
            inside = together[group, label]
            shares = inside / rows, (total - inside) / others
            pooled = total / len(groups)
            error = math.sqrt(pooled * (1 - pooled) * (1 / rows + 1 / others))
            p = two_sided((shares[0] - shares[1]) / error) if error else 1.0
            gaps.append(Gap(group, label, rows, *shares, p))

    def is_wide(gap: Gap) -> bool:
        low, high = sorted((gap.inside, gap.outside))
        return low < RATIO * high and (high - low >= APART or high >= TIMES * low)

    widest: dict[str, Gap] = {}
    for gap in _real([gap for gap in gaps if is_wide(gap)], len(gaps)):
        widest.setdefault(gap.label, gap)
    return list(widest.values())


def of_values(groups: Sequence[str], values: Sequence[float]) -> list[Gap]:
    """Groups whose numbers are far above or below the others', the greatest difference first.

    Args:
        groups: group of each row.
        values: number of each row.
    """
    numbers, names = np.asarray(values, float), np.asarray(groups, object)
    gaps = []
    for group, rows in Counter(groups).items():
        inside, outside = numbers[names == group], numbers[names != group]
        if not group or min(len(inside), len(outside)) < LEAST:
            continue
        error = math.sqrt(inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside))
        difference = float(inside.mean() - outside.mean())
        p = two_sided(difference / error) if error else 1.0
        gaps.append(Gap(group, "", rows, float(inside.mean()), float(outside.mean()), p))
    apart = SPREAD * numbers.std()
    wide = [gap for gap in gaps if abs(gap.inside - gap.outside) >= apart > 0]
    return _real(wide, len(gaps))


def _real(gaps: Sequence[Gap], tests: int) -> list[Gap]:
    """The gaps that are not chance (Holm 1979), the widest first.

    Args:
        gaps: those that are wide enough to matter.
        tests: how many were looked at.
    """
    others = [1.0] * (tests - len(gaps))
    adjusted = holm([*(gap.p for gap in gaps), *others])
    kept = [gap for gap, p in zip(gaps, adjusted, strict=False) if p <= ALARM]
    return sorted(kept, key=lambda gap: (-abs(gap.inside - gap.outside), -gap.inside))
