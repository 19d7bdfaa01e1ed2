"""Several processes on one socket: started together, and ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

Work = Callable[[int, int, Callable[[], None]], int]
"""What a process does: its number, a pipe that closes with its parent, and what it calls when it
can answer; returns the status it ends with."""


def run(count: int, work: Work, ready: Callable[[], None]) -> int:
    """Runs processes until a signal or the end of one of them ends all.

    No thread may run yet, since the processes are forked.

    Args:
        count: number of processes.
        work: what each does.
        ready: called when all can answer.

    Returns:
        The worst of their statuses.
    """
    lifeline, told = os.pipe(), os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    children = {_start(number, work, lifeline, told) for number in range(count)}
    os.close(told[1])

    got: list[int] = []
    is_ending = False

    def end(*signal_and_frame: Any) -> None:
        nonlocal is_ending
        is_ending = True
        got.extend(signal_and_frame[:1])
        for child in children:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and is to be noted yet
                os.kill(child, signal.SIGTERM)

    old = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    if _all_ready(told[0], count):
        ready()
    worst = 0
    while children:
        child, status = os.wait()
        children.discard(child)
        code = os.waitstatus_to_exitcode(status)
        if not (is_ending and code == -signal.SIGTERM):  # told to end while it still loaded
            worst = max(worst, code if code >= 0 else 128 - code)
        end()
    for number, handler in old.items():
        signal.signal(number, handler)
    os.close(lifeline[1])
    os.close(lifeline[0])
    if signal.SIGINT in got:
        raise KeyboardInterrupt
    return worst


def _start(number: int, work: Work, lifeline: tuple[int, int], told: tuple[int, int]) -> int:
    """Starts a process. Returns its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.close(lifeline[1])
        os.close(told[0])
        status = work(number, lifeline[0], lambda: _say_ready(told[1]))
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)


def _say_ready(told: int) -> None:
    os.write(told, b"1")
    os.close(told)


def _all_ready(told: int, count: int) -> bool:
    """Waits until each process has said that it is ready, or one has ended."""
    ready = b""
    while len(ready) < count and (said := os.read(told, count)):
        ready += said
    os.close(told)
    return len(ready) == count
