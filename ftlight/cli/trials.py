"""The trainings of a tune: trials one after another, then the best of them on more seeds.

Any number of processes do this together, on one machine or many that share the folder.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ftlight.cli import child
from ftlight.run import folder, records, tracked
from ftlight.tune import planning, rungs, study
from ftlight.tune.space import Parameter, as_text, words
from ftlight.utils.errors import UserError, WriteError
from ftlight.utils.format import span
from ftlight.utils.printable import say

QUIET = ("--trainer.test=false", "--trainer.report=false", "--trainer.enable_progress_bar=false")
STOPPED = (75, 129, 130, 141, 143)  # of a training that was asked to stop, and has saved itself
TRIES = 2  # of a trial that fails
WAIT = 0.5  # seconds between two looks at what others do


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


class Measured(NamedTuple):
    """How a training ended.

    Attributes:
        score: the best validation score, as the task has it.
        monitor: its name.
        sign: 1 if more of it is better, else -1.
    """

    score: float
    monitor: str
    sign: float


def measured(run: Path) -> Measured:
    """Reads how a training ended.

    Raises:
        UserError: it was not validated.
    """
    facts = records.facts(run)
    for monitor, score in facts.get("best", {}).items():
        sign = -1.0 if facts.get("learning", {}).get("mode") == "min" else 1.0
        return Measured(float(score), monitor, sign)
    raise UserError(
        f"{folder.short(run)} has no validation score, by which settings are chosen: give"
        " data.validation, or data.validation_split: 0.1"
    )


def run(asked: Asked, tried: Study) -> int:
    """Runs trials until there are enough, or no time is left.

    Returns:
        The status of a training that was asked to stop, else 0.

    Raises:
        UserError: the config itself fails, or three trials in a row do.
        WriteError: a disk is full.
    """
    begun = datetime.now()
    while True:
        if why := study.hopeless(tried, begun):
            raise UserError(f"three trials in a row failed; the last one: {why}")
        left = asked.until - time.monotonic() - reserved(asked, tried)
        taken = [seconds(trial) for trial in study.finished(tried)]
        given = None
        if planning.fits(left, taken):  # if there are no others, those of dead processes are left
            most = 0 if study.exhausted(tried) else asked.trials
            given = study.take(tried, asked.home, asked.parameters, asked.own, most)
        if given is not None:
            with given.held:
                if status := attempt(asked, tried, given):
                    return status
            sweep(asked, tried)
        elif not study.others_run(tried, asked.home):
            return 0
        else:
            time.sleep(WAIT)


def reserved(asked: Asked, tried: Study) -> float:
    """Seconds that are left for what follows the trials."""
    return planning.reserve(asked.budget, whole_seconds(tried), asked.seeds, asked.jobs)


def whole_seconds(tried: Study) -> float:
    """What the longest of the best trials took; 0 if none has ended."""
    whole = [t for t in study.finished(tried) if t.state == TrialState.COMPLETE]
    return max((seconds(trial) for trial in whole[: planning.TOP]), default=0.0)


def seconds(trial: FrozenTrial) -> float:
    """What a trial took."""
    return float(trial.user_attrs.get("seconds", 0.0))


def attempt(asked: Asked, tried: Study, given: study.Given) -> int:
    """Runs a trial to its end, and records how it ended.

    Returns:
        The status of a training that was asked to stop, else 0.

    Raises:
        UserError: the config itself fails.
        WriteError: a disk is full.
    """
    run, number = asked.home / given.name, given.trial.number
    if (same := study.same_as(tried, given)) is not None:
        others = asked.home / study.name_of(same.number)
        given.trial.set_user_attr("same_as", same.number)
        finish(asked, tried, given, others)
        return 0
    limit = None
    if asked.until != float("inf"):
        limit = asked.until - time.monotonic() - reserved(asked, tried)
    while True:
        begun = time.monotonic()
        status = train(asked, run, words(given.settings), limit, asked.prunes)
        took = time.monotonic() - begun
        before = given.trial.user_attrs.get("seconds", 0.0)
        given.trial.set_user_attr("seconds", before + took)
        if not status and number and not records.facts(run).get("best"):
            study.tell_failure(tried, given, "its validation score is not a number")
            say(f"trial {number} failed: its validation score is not a number")
            return 0
        if not status:
            finish(asked, tried, given, run)
            return 0
        if limit is not None and took >= limit:
            return 0  # it is saved, and goes on if there is more time one day
        if status in STOPPED:
            return status
        if folder.is_locked(run):  # a process that outlived its own still trains it
            return 0
        why = child.fault(log_of(run))
        failures = given.trial.user_attrs.get("failures", 0) + 1
        given.trial.set_user_attr("failures", failures)
        if number == 0 and status == UserError.status:
            raise UserError(f"the config as it is fails: {why}")
        if failures >= TRIES or status == UserError.status:
            why = why or f"it ended with status {status}"
            study.tell_failure(tried, given, why)
            say(f"trial {number} failed: {why}")
            return 0


def log_of(run: Path) -> Path:
    """The file of what a training prints."""
    return run.with_name(f"{run.name}.log")


def train(
    asked: Asked, run: Path, options: Sequence[str], limit: float | None, prunes: bool
) -> int:
    """Trains, or goes on with that. Returns the status.

    Raises:
        WriteError: a disk is full, which is no fault of the settings.
    """
    own = [*asked.fit, *options, *QUIET, f"--run={run}", "--resume=auto"]
    variables = tracked.grouped(asked.home, "trial")
    variables |= {rungs.VARIABLE: "1"} if prunes else {}
    status = child.run("fit", own, log_of(run), True, variables, limit)
    if status == WriteError.status:
        why = child.fault(log_of(run)) or f"{folder.short(run)} cannot be written; make room"
        raise WriteError(f"{why}; the same command goes on")
    return status


def finish(asked: Asked, tried: Study, given: study.Given, run: Path) -> None:
    """Records the score of a trial, and says it.

    Raises:
        UserError: it has none, or another than the sweep wants.
    """
    found = measured(run)
    check_metric(asked, found)
    reached = rungs.read(run) if asked.prunes else {}
    pruned = any(not goes_on for _, goes_on in reached.values())
    given.trial.set_user_attr("monitor", found.monitor)
    given.trial.set_user_attr("sign", found.sign)
    scores = {number: score for number, (score, _) in reached.items()}
    study.tell(tried, given, found.sign * found.score, scores, pruned)
    if run.name == given.name:
        say(said(given, found, pruned, study.finished(tried)[0]))


def check_metric(asked: Asked, found: Measured) -> None:
    """Checks that a sweep wants the score that there is.

    Raises:
        UserError: it wants another.
    """
    goal = "max" if found.sign > 0 else "min"
    wrong = asked.metric not in ("", found.monitor) or asked.goal not in ("", goal)
    if wrong:
        word = "maximize" if found.sign > 0 else "minimize"
        raise UserError(
            f"metric: the score by which runs are chosen is {found.monitor} ({word}); leave metric"
            " out of the sweep, or name that"
        )


def said(given: study.Given, found: Measured, pruned: bool, best: FrozenTrial) -> str:
    """A line about a trial that has ended."""
    number = given.trial.number
    took = span(given.trial.user_attrs["seconds"])
    what = ", ".join(f"{name} {as_text(value)}" for name, value in given.settings.items())
    state = f"cut short, {took}" if pruned else took
    value = f"{found.monitor} {found.score:.4f}"
    place = "the best so far" if best.number == number else f"best {abs(study.score(best)):.4f}"
    return f"trial {number}: {value} ({state}; {place}): {what or 'the config as it is'}"


def sweep(asked: Asked, tried: Study) -> None:
    """Deletes checkpoints of trials that can no longer be the best."""
    if asked.keep == "all":
        return
    ended = study.finished(tried)
    whole = [trial for trial in ended if trial.state == TrialState.COMPLETE]
    # the config as it is may be preferred, and whole trials alone are trained on more seeds
    kept = {0, *(t.number for t in (*ended[: planning.TOP], *whole[: planning.TOP]))}
    for trial in ended:
        if trial.number not in kept:
            remove_checkpoints(asked.home / study.name_of(trial.number))


def remove_checkpoints(run: Path) -> None:
    """Deletes the checkpoints of a run."""
    shutil.rmtree(run / "checkpoints", ignore_errors=True)


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
    whole = [t for t in study.finished(tried) if t.state == TrialState.COMPLETE]
    longest = whole_seconds(tried)
    top, seeds = planning.again(asked.budget, longest, asked.seeds, asked.jobs)
    best = whole[:top]
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
        rest = [again for again in wanted if not is_done(asked.home / again.name)]
        rest = [again for again in rest if again.name not in failed]
        begun = False
        for again in rest:
            held = study.claim(asked.home, again.name)
            if held is None:
                continue
            with held:
                if folder.is_locked(asked.home / again.name):
                    continue  # a training has outlived the process that started it
                begun = True
                if is_done(asked.home / again.name):
                    continue
                limit = None if asked.until == float("inf") else asked.until - time.monotonic()
                if limit is not None and limit <= 0:
                    return 0
                status = _once_more(asked, again, limit)
            if status in STOPPED and (limit is None or time.monotonic() < asked.until):
                return status
            if status:
                failed.add(again.name)
        if not rest:
            return 0
        if not begun:
            time.sleep(WAIT)


def _once_more(asked: Asked, again: Again, limit: float | None) -> int:
    run = asked.home / again.name
    options = [*words(again.settings), f"--seed={again.seed}"]
    status = train(asked, run, options, limit, prunes=False)
    if not status:
        found = measured(run)
        value = f"{found.monitor} {found.score:.4f}"
        say(f"trial {again.number}, seed {again.seed}: {value}")
    return status


def is_done(run: Path) -> bool:
    """Whether a training has ended well."""
    return records.facts(run).get("status") == "done"
