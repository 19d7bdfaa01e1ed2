"""A command of ftlight in a process of its own.

Where a process can fork, commands are forked from one that has imported everything and computed
nothing: only the first of many waits for imports, and none sees what another left in memory.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing import reduction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlight.run import tracked

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PASSED = ("SIGTERM", "SIGUSR1", "SIGHUP")  # a terminal sends the others to both processes
# Variables by which launchers tell the processes of a training apart.
LAUNCHERS = ("TORCHELASTIC_", "SLURM_", "OMPI_", "PMI_", "MASTER_", "GROUP_", "ROLE_", "LOCAL_")
GRACE = 30.0  # seconds from asking a command to end until it is ended
GROUP = ("RANK", "WORLD_SIZE", "NODE_RANK", "FTLIGHT_LAUNCHER")


def run(
    verb: str,
    argv: Sequence[str],
    log: Path | None = None,
    alone: bool = False,
    variables: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> int:
    """Runs a verb in a process of its own, which gets the signals of this one.

    Args:
        verb: the verb.
        argv: what follows it.
        log: file for what it prints. Default: it prints where this process does.
        alone: whether it is no member of the group of processes that this one is in.
        variables: more variables of its environment.
        seconds: after which it is asked to end, as by SIGTERM, and is ended 30 seconds later.

    Returns:
        Its status.
    """
    gone = set(tracked.ONE_RUN)  # that run is of this process
    if alone:
        gone |= {name for name in os.environ if name in GROUP or name.startswith(LAUNCHERS)}
    left = {name: value for name, value in os.environ.items() if name not in gone}
    left |= variables or {}
    sys.stdout.flush()
    target = None if log is None else str(log)
    screen = []
    if log is None and hasattr(reduction, "DupFd"):  # Windows hands its console on
        screen = [reduction.DupFd(1), reduction.DupFd(2)]
    listens, tells = context().Pipe(duplex=False)
    given = ([verb, *argv], left, target, screen, tells)
    return _ended(context().Process(target=_work, args=given), seconds, listens, tells)


def last_line(log: Path) -> str:
    """The last line that a process printed into its log; empty if there is none."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def fault(log: Path) -> str:
    """What a command said last, without the mark of an error; empty if it said nothing."""
    return last_line(log).removeprefix("ftlight: error: ")


def prepared() -> Any:
    """Begins to import what commands need, in the process from which they are forked.

    Returns:
        A process that ends once that is done.
    """
    made = context().Process(target=int)
    made.start()
    return made


@cache
def context() -> Any:
    """How processes are started: forked if that is possible, else anew."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["ftlight.cli.preloaded"])
    return made


def _work(
    words: list[str],
    environment: dict[str, str],
    log: str | None,
    screen: Sequence[Any],
    tells: Connection,
) -> None:
    """Runs a command line in this process, and ends it."""
    try:
        for name in ("SIGINT", *PASSED):
            if hasattr(signal, name):
                usual = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
                signal.signal(getattr(signal, name), usual)
        tells.close()  # from here on signals are heard
        os.environ.clear()
        os.environ.update(environment)
        if log is not None:
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            targets = [file, file]
        else:
            targets = [handle.detach() for handle in screen]
        for target, number in zip(targets, (1, 2), strict=False):
            os.dup2(target, number)
        sys.argv = ["ftlight", *words]  # further processes of a training repeat the command
        runpy.run_module("ftlight", run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:  # before the command itself would have caught it
        sys.exit(128 + signal.SIGINT)


def _ended(child: Any, seconds: float | None, listens: Connection, tells: Connection) -> int:
    """Starts a process and waits for it, with the signals of this one passed on."""
    early: list[int] = []
    hears = False

    def passed(signum: int, frame: Any) -> None:
        if not hears:  # it may have missed what was sent to both
            early.append(signum)
        elif signum != signal.SIGINT:  # a terminal sends that to both
            _send(child, signum)

    numbers = [getattr(signal, name) for name in ("SIGINT", *PASSED) if hasattr(signal, name)]
    before = {number: signal.signal(number, passed) for number in numbers}
    try:
        child.start()
        tells.close()
        listens.poll(None)
        hears = True
        for signum in early:
            _send(child, signum)
        child.join(seconds)
        for end in (child.terminate, child.kill):
            if child.exitcode is None:
                end()
                child.join(GRACE)
        child.join()
    finally:
        listens.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    status = int(child.exitcode)
    child.close()
    return status if status >= 0 else 128 - status


def _send(child: Any, signum: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child.pid, signum)
