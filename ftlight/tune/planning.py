"""How the time of a tune is shared between trials and the last trainings on more seeds."""

from __future__ import annotations

from collections.abc import Sequence

TOP = 3  # settings that are trained again
SHARE = 0.4  # of the time that such trainings may take, at most
START, AS_ALL = 8.0, 0.03  # seconds, and a share of all, for the test and what else ends a tune
LATE = 1.1  # times that a training may take longer than those before


def again(budget: float, seconds: float, seeds: int, jobs: int = 1) -> tuple[int, int]:
    """How many of the best settings are trained again, and on how many seeds in all.

    Args:
        budget: seconds of the tune; infinite without a limit.
        seconds: what a training takes to its end.
        seeds: seeds that are asked for.
        jobs: trainings at once.

    >>> again(1200, 30, 3), again(1200, 100, 3), again(1200, 200, 3), again(1200, 500, 3)
    ((3, 3), (2, 3), (2, 2), (1, 1))
    >>> again(float("inf"), 500, 5), again(1200, 30, 1)
    ((3, 5), (1, 1))
    """
    for top, wanted in ((TOP, seeds), (2, seeds), (2, 2)):
        most = min(wanted, seeds)
        if most > 1 and rest(top, most, seconds, jobs) <= SHARE * budget:
            return top, most
    return 1, 1


def rest(top: int, seeds: int, seconds: float, jobs: int = 1) -> float:
    """Seconds of the trainings on more seeds: the trial itself is one of them."""
    return -(-top * (seeds - 1) // jobs) * seconds * LATE


def reserve(budget: float, seconds: float, seeds: int, jobs: int = 1) -> float:
    """Seconds that trials leave for the trainings on more seeds, and for the test.

    >>> reserve(1200, 30, 3) == 6 * 30 * 1.1 + 8 + 36
    True
    """
    if budget == float("inf"):
        return 0.0
    return rest(*again(budget, seconds, seeds, jobs), seconds, jobs) + START + AS_ALL * budget


def fits(left: float, taken: Sequence[float]) -> bool:
    """Whether another trial is likely to end in time: half of those before took no longer.

    Args:
        left: seconds that are left for trials.
        taken: seconds of the trials before.

    >>> fits(10, []), fits(10, [5, 9, 30]), fits(8, [5, 9, 30]), fits(0, [])
    (True, True, False, False)
    """
    return left > 0 and (not taken or sorted(taken)[len(taken) // 2] <= left)
