"""The trials of a tune, one after another.

Any number of processes do this together, on one machine or many that share the folder.
"""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial

from ftlight.cli import child, tune_training
from ftlight.cli.tune_training import Measured
from ftlight.run import folder, records
from ftlight.tune import ask_tell, claims, planning, rungs, study
from ftlight.tune.ask_tell import Given
from ftlight.tune.asked import Asked
from ftlight.tune.space import as_text, words
from ftlight.utils.errors import UserError
from ftlight.utils.format import span
from ftlight.utils.printable import say

TRIES = 2  # of a trial that fails


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
        left = asked.left - reserved(asked, tried)
        taken = [study.seconds(trial) for trial in study.finished(tried)]
        given = None
        if planning.fits(left, taken):  # if there are no others, those of dead processes are left
            most = 0 if study.exhausted(tried) else asked.trials
            given = ask_tell.take(tried, asked.home, asked.parameters, asked.own, most)
        if given is not None:
            with given.held:
                if status := attempt(asked, tried, given):
                    return status
            sweep(asked, tried)
        elif not ask_tell.others_run(tried, asked.home):
            return 0
        else:
            time.sleep(claims.WAIT)


def reserved(asked: Asked, tried: Study) -> float:
    """Seconds that are left for what follows the trials."""
    return planning.reserve(asked.budget, study.whole_seconds(tried), asked.seeds, asked.jobs)


def attempt(asked: Asked, tried: Study, given: Given) -> int:
    """Runs a trial to its end, and records how it ended.

    Returns:
        The status of a training that was asked to stop, else 0.

    Raises:
        UserError: the config itself fails.
        WriteError: a disk is full.
    """
    run, number = asked.home / given.name, given.trial.number
    if (same := ask_tell.same_as(tried, given)) is not None:
        others = asked.home / study.name_of(same.number)
        given.trial.set_user_attr("same_as", same.number)
        finish(asked, tried, given, others)
        return 0
    limit = asked.left - reserved(asked, tried)
    while True:
        begun = time.monotonic()
        status = tune_training.train(asked, run, words(given.settings), limit, asked.prunes)
        took = time.monotonic() - begun
        before = given.trial.user_attrs.get("seconds", 0.0)
        given.trial.set_user_attr("seconds", before + took)
        if not status:
            if number and not records.facts(run).get("best"):
                _fail(tried, given, "its validation score is not a number")
            else:
                finish(asked, tried, given, run)
            return 0
        if took >= limit:
            return 0  # it is saved, and goes on if there is more time one day
        if status in tune_training.STOPPED:
            return status
        if folder.is_locked(run):  # a process that outlived its own still trains it
            return 0
        if why := _fault(given, status, tune_training.log_of(run)):
            _fail(tried, given, why)
            return 0


def _fault(given: Given, status: int, log: Path) -> str:
    """Why a trial whose training failed is given up; empty if it is tried once more.

    Raises:
        UserError: the config itself fails.
    """
    why = child.fault(log)
    failures = given.trial.user_attrs.get("failures", 0) + 1
    given.trial.set_user_attr("failures", failures)
    is_wrong = status == UserError.status
    if is_wrong and given.trial.number == 0:
        raise UserError(f"the config as it is fails: {why}")
    return (why or f"it ended with status {status}") if is_wrong or failures >= TRIES else ""


def _fail(tried: Study, given: Given, why: str) -> None:
    """Records that a trial failed, and says it."""
    ask_tell.tell_failure(tried, given, why)
    say(f"trial {given.trial.number} failed: {why}")


def finish(asked: Asked, tried: Study, given: Given, run: Path) -> None:
    """Records the score of a trial, and says it.

    Raises:
        UserError: it has none, or another than the sweep wants.
    """
    found = tune_training.measured(run)
    check_metric(asked, found)
    reached = rungs.read(run) if asked.prunes else {}
    pruned = any(not goes_on for _, goes_on in reached.values())
    given.trial.set_user_attr("monitor", found.monitor)
    given.trial.set_user_attr("sign", found.sign)
    scores = {number: score for number, (score, _) in reached.items()}
    ask_tell.tell(tried, given, found.sign * found.score, scores, pruned)
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


def said(given: Given, found: Measured, pruned: bool, best: FrozenTrial) -> str:
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
    ended, whole = study.finished(tried), study.whole(tried)
    # the config as it is may be preferred, and whole trials alone are trained on more seeds
    kept = {0, *(t.number for t in (*ended[: planning.TOP], *whole[: planning.TOP]))}
    for trial in ended:
        if trial.number not in kept:
            tune_training.remove_checkpoints(asked.home / study.name_of(trial.number))
