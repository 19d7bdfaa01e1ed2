"""A command of ftlight in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PASSED = ("SIGTERM", "SIGUSR1", "SIGHUP")  # a terminal sends the others to both processes
# Variables by which launchers tell the processes of a training apart.
LAUNCHERS = ("TORCHELASTIC_", "SLURM_", "OMPI_", "PMI_", "MASTER_", "GROUP_", "ROLE_", "LOCAL_")
GROUP = ("RANK", "WORLD_SIZE", "NODE_RANK", "FTLIGHT_LAUNCHER")


def run(verb: str, argv: Sequence[str], log: Path | None = None, alone: bool = False) -> int:
    """Runs a verb in a process of its own, which gets the signals of this one.

    Args:
        verb: the verb.
        argv: what follows it.
        log: file for what it prints. Default: it prints where this process does.
        alone: whether it is no member of the group of processes that this one is in.

    Returns:
        Its status.
    """
    command = [sys.executable, "-m", "ftlight", verb, *argv]
    names = [name for name in os.environ if name in GROUP or name.startswith(LAUNCHERS)]
    left = {name: value for name, value in os.environ.items() if not alone or name not in names}
    if log is None:
        return _ended(subprocess.Popen(command, env=left))
    with log.open("wb") as file:
        return _ended(subprocess.Popen(command, env=left, stdout=file, stderr=subprocess.STDOUT))


def last_line(log: Path) -> str:
    """The last line that a process printed into its log; empty if there is none."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


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
