"""A tune from its first line to its last, in one process or several on a machine."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from optuna.study import Study

from ftlight.cli import child, repeats, trials, tune_end, tune_training, tune_words
from ftlight.cli.command import Words
from ftlight.run.folder import short
from ftlight.tune import claims, study
from ftlight.tune.asked import Asked
from ftlight.utils import secrets
from ftlight.utils.format import counted
from ftlight.utils.printable import say

HELPER = "FTLIGHT_TUNE_HELPER"  # set for the further processes of --jobs
INTERRUPTED = 130


def run(words: Words) -> tuple[int, str]:
    """Tries settings, or goes on with that. Returns the status and what to print.

    Raises:
        UserError: what is asked for is wrong, the config fails, or no trial ended in time.
    """
    tune_words.threads(tune_words.number(words, "jobs") or 1)
    imports = child.prepared()
    asked = tune_words.read(words)
    tried = study.opened(asked.home, asked.method, asked.seed, asked.own)
    is_helper = bool(os.environ.get(HELPER))
    if not is_helper:
        say(opening(asked, tried))
    with helpers(words, asked) as others:
        try:
            imports.join()  # so that they are no part of the first trial's time
            status = trials.run(asked, tried)
            status = status or repeats.repeat(asked, repeats.to_repeat(asked, tried))
        except KeyboardInterrupt:
            status = INTERRUPTED
        if status:
            stop(others)
            return status, "" if is_helper else so_far(words, asked, tried)
        for process in others:
            process.wait()
    if is_helper:
        return 0, ""
    held = claims.claim(asked.home, "end")
    if held is None:
        return 0, f"{short(asked.home)}: another process of this tune ends it"
    with held:
        return 0, tune_end.end(asked, tried)


def opening(asked: Asked, tried: Study) -> str:
    """What is about to be tried."""
    names = ", ".join(p.name for p in asked.parameters if not p.is_fixed)
    known = len(study.finished(tried))
    before = f"; {counted(known, 'trial')} of before" if known else ""
    return f"{short(asked.home)}: varies {names}{before}"


@contextmanager
def helpers(words: Words, asked: Asked) -> Iterator[list[subprocess.Popen[Any]]]:
    """The further processes of ``--jobs``, which do as this one does but end nothing."""
    own = [*tune_words.again(words, asked.home), *tune_words.remaining(asked)]
    command = [sys.executable, "-m", "ftlight", "tune", *own]
    others: list[subprocess.Popen[Any]] = []
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        for _ in range(asked.jobs - 1):
            others.append(subprocess.Popen(command, env={**os.environ, HELPER: "1"}))  # noqa: PERF401
        yield others
    except BaseException:
        stop(others)
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(signum: int, frame: Any) -> None:
    raise SystemExit(tune_training.STOPPED[0])


def stop(others: Sequence[subprocess.Popen[Any]]) -> None:
    """Asks further processes to stop, and waits for them."""
    for process in others:
        if process.poll() is None:
            process.terminate()
    for process in others:
        process.wait()


def so_far(words: Words, asked: Asked, tried: Study) -> str:
    """What a tune has that was stopped, and how it goes on."""
    found = study.finished(tried)
    own = tune_words.again(words, asked.home)
    rest = [f"--{name}={words.own[name]}" for name in ("budget", "jobs") if name in words.own]
    then = f"to go on: python -m ftlight tune {shlex.join(secrets.command([*own, *rest]))}"
    if not found:
        return f"stopped; no trial has ended yet; {then}"
    best = found[0]
    score = f"{best.user_attrs['monitor']} {abs(study.score(best)):.4f}"
    run = short(asked.home / study.name_of(best.number))
    return f"stopped after {counted(len(found), 'trial')}, the best of them {run} ({score}); {then}"
