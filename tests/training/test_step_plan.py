"""The planner of a run with a time limit, against a bare loop over its steps."""

from __future__ import annotations

import random
from collections.abc import Sequence

from conftest import each

from ftlight.training.plan import Leg, Rate, learned, plan, seconds


def bare(rate: Rate, legs: Sequence[Leg], done: int) -> float:
    """Seconds of the rest of a run, step by step."""
    total, step = 0.0, 0
    last = sum(leg.steps for leg in legs)
    for leg in legs:
        if leg.steps and step >= done:
            total += leg.before
        for _ in range(leg.steps):
            step += 1
            if step > done:
                total += leg.work * rate.work
                total += rate.validation if step % rate.every == 0 or step == last else 0.0
    return total


def thirds(steps: int) -> list[Leg]:
    """A run in three stages of different cost, the last of what is left."""
    first, second = steps // 5, steps // 3
    return [Leg(first, 0.25, 7.0), Leg(second, 1.5), Leg(steps - first - second, 3.0, 2.0)]


def test_seconds_are_those_of_a_loop_over_the_steps() -> None:
    rng = random.Random(0)

    def check(total: int, done: int, every: int) -> None:
        rate = Rate(rng.random(), rng.random() * 9, every)
        found = seconds(rate, thirds(total), done)
        assert abs(found - bare(rate, thirds(total), done)) < 1e-6

    totals = [rng.randrange(1, 300) for _ in range(60)]
    each([(total, rng.randrange(total), rng.randrange(1, 80)) for total in totals], check)


def test_a_plan_fits_and_one_more_step_would_not() -> None:
    rng = random.Random(1)

    def check(left: float, done: int) -> None:
        rate = Rate(0.05 + rng.random(), 4 * rng.random(), 37)
        total = plan(rate, left, thirds, 10_000, done)
        assert total > done
        if total > done + 1:
            assert bare(rate, thirds(total), done) <= left
        following = [bare(rate, thirds(total + more), done) for more in range(1, 9)]
        assert max(following) > left

    each([(rng.random() * 400, rng.randrange(150)) for _ in range(40)], check)


def test_nothing_is_planned_beyond_the_most_and_never_less_than_a_step() -> None:
    rate = Rate(1.0, 0.0, 10)
    assert plan(rate, 1e9, thirds, most=90) == 90
    assert plan(rate, -5.0, thirds, most=90, done=30) == 31


def test_what_was_not_timed_counts_as_planned() -> None:
    planned = Rate(1.0, 5.0, 10)
    assert learned(planned, 0.0, 0.0, 0.0) == planned
    assert learned(planned, 8.0, 4.0, 6.0) == Rate(0.5, 6.0, 10)
