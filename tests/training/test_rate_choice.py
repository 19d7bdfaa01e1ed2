"""The rule of the range test."""

from __future__ import annotations

import itertools
import math

from conftest import each

from ftlight.training import rates


def of_fastai(lrs: list[float], losses: list[float]) -> float:
    """``valley`` as fastai has it (fastai/callback/schedule.py)."""
    n = len(losses)
    max_start, max_end = 0, 0
    lds = [1] * n
    for i in range(1, n):
        for j in range(i):
            if (losses[i] < losses[j]) and (lds[i] < lds[j] + 1):
                lds[i] = lds[j] + 1
            if lds[max_end] < lds[i]:
                max_end = i
                max_start = max_end - lds[max_end]
    sections = (max_end - max_start) / 3
    return float(lrs[max_start + int(sections) + int(sections / 2)])


def test_the_rate_is_that_of_the_longest_fall() -> None:
    tried = rates.tried(1e-3)

    def check(first: int, last: int) -> None:
        losses = [3 - min(max(i - first, 0), last - first) / 50 for i in range(100)]
        losses = [loss + 0.5 * max(i - last, 0) for i, loss in enumerate(losses)]
        found = rates.valley(tried, losses)
        assert tried[first] < found < tried[last]
        # fastai counts the beginning of the fall one step sooner
        near = of_fastai(tried, rates.smoothed(losses))
        assert abs(tried.index(found) - tried.index(near)) <= 1 + (last - first) // 2

    each([(0, 60), (20, 70), (40, 95)], check)


def test_rates_go_from_a_hundredth_to_a_hundred_times_the_default() -> None:
    tried = rates.tried(2e-4)
    assert len(tried) == rates.TRIED
    assert math.isclose(tried[0], 2e-6)
    assert math.isclose(tried[-1], 2e-2)
    factors = [after / before for before, after in itertools.pairwise(tried)]
    assert max(factors) - min(factors) < 1e-9


def test_the_test_ends_when_the_loss_diverges() -> None:
    assert not rates.has_diverged([1.0, 0.9, 1.2])
    assert rates.has_diverged([1.0, 0.5, math.nan])
    assert rates.has_diverged([0.1, 0.1, 5.0])
    assert rates.valley(rates.tried(1e-3), [1.0, math.nan]) > 0
