"""What a tune was asked for, which all its processes follow."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.tune.space import Parameter


class Asked(NamedTuple):
    """What a tune was asked for.

    Attributes:
        home: its folder.
        fit: the command line of ``fit`` that each trial changes.
        parameters: what varies.
        own: the config's own values of that, as Optuna has them.
        method: how settings are drawn: bayes, random or grid.
        metric: name of the score that a sweep wants; empty for the task's own.
        goal: max or min; empty likewise.
        seed: seed of the config.
        trials: trials to finish; infinite if only the time counts.
        budget: seconds of all; infinite without a limit.
        until: ``time.monotonic()`` at its end.
        seeds: seeds on which the best are trained.
        jobs: trainings at once.
        prunes: whether bad trials are cut short.
        keep: best or all.
    """

    home: Path
    fit: Sequence[str]
    parameters: Sequence[Parameter]
    own: Mapping[str, Any]
    method: str
    metric: str
    goal: str
    seed: int
    trials: float
    budget: float
    until: float
    seeds: int
    jobs: int
    prunes: bool
    keep: str

    @property
    def left(self) -> float:
        """Seconds that are left of all; infinite without a limit."""
        return self.until - time.monotonic()
