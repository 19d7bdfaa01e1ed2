"""``fit`` in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PASSED = ("SIGTERM", "SIGUSR1", "SIGHUP")  # a terminal sends the others to both processes


def fit(argv: Sequence[str], log: Path | None = None) -> int:
    """Trains in a process of its own, which gets the signals of this one. Returns its status.

    Args:
        argv: what follows ``fit``.
        log: file for what it prints. Default: it prints where this process does.
    """
    command = [sys.executable, "-m", "ftlight", "fit", *argv]
    if log is None:
        return _ended(subprocess.Popen(command))
    with log.open("wb") as file:
        return _ended(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT))


def _ended(child: subprocess.Popen[bytes]) -> int:
    def passed(signum: int, frame: Any) -> None:
        child.send_signal(signum)

    numbers = [getattr(signal, name) for name in PASSED if hasattr(signal, name)]
    before = {number: signal.signal(number, passed) for number in numbers}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda signum, frame: None)
    try:
        status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status
