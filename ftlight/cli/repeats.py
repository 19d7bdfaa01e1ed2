"""The best settings of a tune, trained on more seeds after all trials.

As with trials, any number of processes do this together.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from optuna.study import Study

from ftlight.cli import tune_training
from ftlight.tune import claims, planning, study
from ftlight.tune.asked import Asked
from ftlight.tune.space import words
from ftlight.utils.printable import say


class Again(NamedTuple):
    """A training of one of the best settings on another seed.

    Attributes:
        number: the trial.
        seed: the seed.
        settings: options that it changes.
    """

    number: int
    seed: int
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{study.name_of(self.number)}-seed-{self.seed}"


def to_repeat(asked: Asked, tried: Study) -> list[Again]:
    """The best trials, each on further seeds; none if there is nothing to choose from."""
    longest = study.whole_seconds(tried)
    top, seeds = planning.again(asked.budget, longest, asked.seeds, asked.jobs)
    best = study.whole(tried)[:top]
    if len(best) < 2:
        return []
    found = []
    for seed in range(asked.seed + 1, asked.seed + seeds):
        found += [Again(t.number, seed, t.user_attrs["settings"]) for t in best]
    return found


def repeat(asked: Asked, wanted: Sequence[Again]) -> int:
    """Trains the best settings on more seeds, together with other processes.

    Returns:
        The status of a training that was asked to stop, else 0.
    """
    failed: set[str] = set()
    while True:
        rest = [again for again in wanted if not tune_training.is_done(asked.home / again.name)]
        rest = [again for again in rest if again.name not in failed]
        begun = False
        for again in rest:
            held = claims.claim_run(asked.home, again.name)
            if held is None:
                continue
            with held:
                begun = True
                if tune_training.is_done(asked.home / again.name):
                    continue
                if (limit := asked.left) <= 0:
                    return 0
                status = _once_more(asked, again, limit)
            if status in tune_training.STOPPED and asked.left > 0:
                return status
            if status:
                failed.add(again.name)
        if not rest:
            return 0
        if not begun:
            time.sleep(claims.WAIT)


def _once_more(asked: Asked, again: Again, limit: float) -> int:
    run = asked.home / again.name
    options = [*words(again.settings), f"--seed={again.seed}"]
    status = tune_training.train(asked, run, options, limit, prunes=False)
    if not status:
        found = tune_training.measured(run)
        value = f"{found.monitor} {found.score:.4f}"
        say(f"trial {again.number}, seed {again.seed}: {value}")
    return status
