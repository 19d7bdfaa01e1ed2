"""Ask and tell, as Optuna has it: which trial a process runs next, and how that one ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from ftlight.tune import claims
from ftlight.tune.sampling import enqueue, is_grid, settle
from ftlight.tune.space import Parameter
from ftlight.tune.study import FINISHED, finished, name_of

POLL = 0.05  # seconds between two tries to be next


class Given(NamedTuple):
    """A trial to run.

    Attributes:
        trial: Optuna's.
        settings: options that it changes.
        held: open file that keeps others from running it.
        is_new: whether no process ran it before.
    """

    trial: Trial
    settings: Mapping[str, Any]
    held: IO[str]
    is_new: bool

    @property
    def name(self) -> str:
        """Name of its folder."""
        return name_of(self.trial.number)


def take(
    study: Study, home: Path, parameters: Sequence[Parameter], own: Mapping[str, Any], most: float
) -> Given | None:
    """The next trial for this process: one whose process is gone, else a new one.

    Args:
        study: the study.
        home: folder of the tune.
        parameters: what varies.
        own: the config's own values.
        most: trials that are to be finished.

    Returns:
        None if enough are finished, or others run them, or a grid has no more.
    """
    while (turn := claims.claim(home, "next")) is None:
        time.sleep(POLL)
    with turn:
        abandoned = left(study, home)
        given = abandoned or _new(study, home, parameters, most)
        if given is None:
            return None
        trial, held = given
        return Given(trial, settle(trial, parameters, own), held, abandoned is None)


def _new(
    study: Study, home: Path, parameters: Sequence[Parameter], most: float
) -> tuple[Trial, IO[str]] | None:
    """A trial that no process ran before; None if there are enough, or a grid has no more."""
    states = (*FINISHED, TrialState.RUNNING)
    trials = study.get_trials(deepcopy=False, states=states)
    if sum("same_as" not in trial.user_attrs for trial in trials) >= most:
        return None
    if is_grid(study) and not enqueue(study, parameters):
        return None
    trial = study.ask()
    while (held := claims.claim(home, name_of(trial.number))) is None:
        time.sleep(POLL)  # another process looks whether it is run
    return trial, held


def left(study: Study, home: Path) -> tuple[Trial, IO[str]] | None:
    """A trial that runs by its record, and whose process is gone: the lock of its run is free."""
    for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        held = claims.claim_run(home, name_of(frozen.number))
        if held is not None:
            from ftlight.utils import internals  # not above: it loads torch

            return Trial(study, internals.id_of_trial(frozen)), held
    return None


def others_run(study: Study, home: Path) -> bool:
    """Whether a trial is run by another process, or by a training that outlived its own."""
    for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        held = claims.claim_run(home, name_of(frozen.number))
        if held is None:
            return True
        held.close()
    return False


def same_as(study: Study, given: Given) -> FrozenTrial | None:
    """A trial that has ended with the very settings of another; it would end as that did."""
    mine = given.trial.params
    return next((trial for trial in finished(study) if trial.params == mine), None)


def tell(
    study: Study, given: Given, score: float, rungs: Mapping[int, float], pruned: bool
) -> None:
    """Records how a trial ended.

    Args:
        study: the study.
        given: the trial.
        score: its best score, of which more is better.
        rungs: its best score at each rung that it reached.
        pruned: whether it was cut short there.
    """
    for number, value in rungs.items():
        given.trial.report(value, number)
    given.trial.set_user_attr("score", score)
    given.trial.set_user_attr("settings", dict(given.settings))
    if pruned:
        study.tell(given.trial.number, state=TrialState.PRUNED)
    else:
        study.tell(given.trial.number, score)


def tell_failure(study: Study, given: Given, why: str) -> None:
    """Records that a trial failed, with the last line of its log."""
    given.trial.set_user_attr("failure", why)
    given.trial.set_user_attr("settings", dict(given.settings))
    study.tell(given.trial.number, state=TrialState.FAIL)
