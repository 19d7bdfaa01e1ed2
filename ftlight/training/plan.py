"""How many optimizer steps fit into a time limit, as pure functions of what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

SPARE = 0.05  # share of the time that the first plan leaves for what takes longer than measured
NEWS = 0.1  # share of a plan by which it is lowered once more before that is said again
LATE = 0.03  # share of the limit by which a run may be late before the clock ends it


class Rate(NamedTuple):
    """What the parts of a run cost.

    Attributes:
        work: seconds of a unit of work: one pass forward of all layers in an optimizer step.
        validation: seconds of a validation.
        every: optimizer steps from one validation to the next.
    """

    work: float
    validation: float
    every: float


class Leg(NamedTuple):
    """A stretch of a run whose steps all cost the same.

    Attributes:
        steps: optimizer steps.
        work: units of work of each.
        before: seconds that pass before the first, such as those that fill an activation store.
    """

    steps: int
    work: float
    before: float = 0.0


Stages = Callable[[int], Sequence[Leg]]  # of a run with so many steps


def seconds(rate: Rate, legs: Sequence[Leg], done: int = 0) -> float:
    """Seconds that the rest of a run takes, with a validation at its end.

    Args:
        rate: what its parts cost.
        legs: all of the run.
        done: optimizer steps that it has taken.

    >>> seconds(Rate(work=1.0, validation=5.0, every=10), [Leg(4, 1.0), Leg(8, 3.0, before=2.0)])
    40.0
    >>> seconds(Rate(work=1.0, validation=5.0, every=10), [Leg(4, 1.0), Leg(8, 3.0)], done=10)
    11.0
    """
    total, begin = 0.0, 0
    for leg in legs:
        end = begin + leg.steps
        total += max(0, end - max(begin, done)) * leg.work * rate.work
        if begin >= done and leg.steps:
            total += leg.before
        begin = end
    validations = math.ceil(begin / rate.every) - math.floor(done / rate.every)
    return total + validations * rate.validation


def plan(rate: Rate, seconds_left: float, stages: Stages, most: int, done: int = 0) -> int:
    """The most optimizer steps of a run that fit into the time that is left; one more at least.

    Args:
        rate: what the parts of the run cost.
        seconds_left: seconds that training may still take.
        stages: a number of steps to the legs of the run that has so many.
        most: the most steps that it may have.
        done: optimizer steps that it has taken.

    >>> rate = Rate(work=0.1, validation=2.0, every=50)
    >>> plan(rate, 60, lambda total: [Leg(total, 3.0)], most=10_000)
    173
    >>> plan(rate, 60, lambda total: [Leg(total // 2, 1.0), Leg(total - total // 2, 3.0)], 10_000)
    250
    >>> plan(rate, 60, lambda total: [Leg(total, 3.0)], most=100)
    100
    """
    low, high = done + 1, max(done + 1, most)
    while low < high:
        middle = (low + high + 1) // 2
        if seconds(rate, stages(middle), done) <= seconds_left:
            low = middle
        else:
            high = middle - 1
    return low


def learned(planned: Rate, work: float, worked: float, validation: float) -> Rate:
    """The rate of a run so far; as planned where nothing was measured.

    Args:
        planned: the rate that it was planned with.
        work: units of work that were timed.
        worked: seconds that they took.
        validation: seconds of the last validation; 0 before the first.

    >>> learned(Rate(work=1.0, validation=5.0, every=10), work=20, worked=30.0, validation=0.0)
    Rate(work=1.5, validation=5.0, every=10)
    """
    return planned._replace(
        work=worked / work if work else planned.work,
        validation=validation or planned.validation,
    )


def is_news(total: int, said: int | None) -> bool:
    """Whether a lower plan is worth a line: the first one, then each that takes off a tenth.

    >>> is_news(236, None), is_news(230, 236), is_news(200, 236)
    (True, False, True)
    """
    return said is None or said - total > NEWS * said


def why(planned: Rate, now: Rate) -> str:
    """What made a plan too long, in words.

    >>> why(Rate(1.0, 5.0, 10), Rate(1.2, 5.0, 10)), why(Rate(1.0, 5.0, 10), Rate(1.0, 8.0, 10))
    ('steps take 20 % longer', 'a validation takes 8.0 s instead of 5.0 s')
    >>> why(Rate(1.0, 5.0, 10), Rate(1.0, 5.0, 10))
    'what came before the steps took longer'
    """
    slower, longer = now.work / planned.work - 1, now.validation - planned.validation
    if slower > 0.01:
        return f"steps take {slower:.0%} longer".replace("%", " %")
    if longer > 0.1:
        return f"a validation takes {now.validation:.1f} s instead of {planned.validation:.1f} s"
    return "what came before the steps took longer"
