"""Which trials are cut short: asynchronous successive halving over shares of a run.

Li et al. 2020, "A system for massively parallel hyperparameter tuning" (arXiv:1810.05934). Rungs
are shares of a run rather than numbers of epochs: rates fall and layers thaw over the run, so that
only at the same share two schedules have come equally far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

RUNGS = (1 / 3, 2 / 3)  # shares of the steps of a run
LEAST = 3  # epochs before the first of them
KEPT = 3  # one in so many goes on


def rung(share: float, epochs: float) -> int | None:
    """The number of the highest rung that a run has reached; None before the first.

    Args:
        share: share of its steps that it has made.
        epochs: epochs that it has made.

    >>> rung(0.5, 2.0), rung(0.3, 3.0), rung(0.34, 3.0), rung(0.7, 7.0), rung(1.0, 9.0)
    (None, None, 0, 1, None)
    """
    if epochs < LEAST - 1e-9 or share >= 1 - 1e-9:  # there is nothing left to save
        return None
    reached = [number for number, at in enumerate(RUNGS) if share >= at - 1e-9]
    return reached[-1] if reached else None


def goes_on(score: float, others: Sequence[float]) -> bool:
    """Whether a trial is among the best third of those that came to a rung.

    As long as fewer than three came there, it must be as good as the best of them.

    Args:
        score: its best score so far; higher is better.
        others: those of the others that came there before.

    >>> goes_on(0.5, []), goes_on(0.5, [0.6]), goes_on(0.6, [0.6]), goes_on(math.nan, [])
    (True, False, True, False)
    >>> goes_on(0.6, [0.7, 0.5, 0.4, 0.3, 0.2]), goes_on(0.6, [0.7, 0.5, 0.4, 0.3])
    (True, False)
    """
    if math.isnan(score):
        return False
    known = sorted([score, *(other for other in others if not math.isnan(other))], reverse=True)
    return score >= known[max(1, len(known) // KEPT) - 1]
