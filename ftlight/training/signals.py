"""Signals that ask a run to stop: noted at once, agreed on by all processes, obeyed at a step boundary."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import torch
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

SIGNALS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)
]
EXIT_REQUEUE = 75  # EX_TEMPFAIL: what a job's script requeues on
TWICE = 1.0  # seconds in which a second signal is the same one, sent by a launcher and to its group


def status(signum: int) -> int:
    """Exit status of a run that a signal ended: 130 after Ctrl-C, else 75, which says "try again".

    >>> status(signal.SIGINT), status(signal.SIGTERM)
    (130, 75)
    """
    return 128 + signum if signum == signal.SIGINT else EXIT_REQUEUE


class RunInterrupted(SystemExit):
    """Ends a run that was asked to stop, after its state was saved; the process exits with :func:`status`."""

    def __init__(self, signum: int, code: int) -> None:
        super().__init__(code)
        self.signum = signum


class Signals(_SignalConnector):
    """Notes the first SIGTERM, SIGINT or SIGUSR1 while a run trains; a second one stops it at once.

    Lightning's own saves in the handler, uses collectives there (which hangs when one process alone is signalled) and
    exits with 0.
    """

    received = 0
    at = 0.0

    def register_signal_handlers(self) -> None:
        """Takes the signals over, for training only; other verbs are ended by them as any program."""
        if self.trainer.fitting and threading.current_thread() is threading.main_thread():  # type: ignore[attr-defined]
            self.teardown()
            before = {s: signal.getsignal(s) for s in SIGNALS}
            # one that was ignored stays so: Ctrl-C is by a job in the background
            self._original_handlers = {
                s: handler for s, handler in before.items() if handler is not signal.SIG_IGN
            }
            for signum in self._original_handlers:
                signal.signal(signum, self._note)

    def _note(self, signum: int, frame: Any) -> None:
        now = time.monotonic()
        if not self.received:
            self.received, self.at = signum, now
            if self.trainer.is_global_zero:
                os.write(
                    2,
                    b"\nstopping: the run is saved after this step (once more: it stops at once)\n",
                )
        elif now - self.at > TWICE:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)


class Agreement:
    """What processes decide together between steps: to stop, or to save.

    They ask each other about once a second, since each time costs a collective; how many steps lie between is itself agreed on.
    """

    def __init__(self) -> None:
        self.every, self.count, self.asked = 1, 0, time.monotonic()

    def reached(self, trainer: Any, signum: int, due: bool) -> tuple[int, bool]:
        """The highest signal any process has, and whether it is time to save for any of them; nothing between two times.

        Args:
            trainer: the trainer; all its processes call this equally often.
            signum: signal that this process has received, or 0.
            due: whether it is time to save, by this process's clock.
        """
        if trainer.world_size == 1:
            return signum, due
        self.count += 1
        if self.count < self.every:
            return 0, False
        now = time.monotonic()
        pace = torch.tensor(
            [signum, due, (now - self.asked) / self.count],
            dtype=torch.float,
            device=trainer.strategy.root_device,
        )
        torch.distributed.all_reduce(pace, torch.distributed.ReduceOp.MAX)
        highest, anyone, seconds = pace.tolist()
        self.every, self.count, self.asked = (
            int(min(max(1.0 / max(seconds, 1e-9), 1), 1000)),
            0,
            now,
        )
        return int(highest), bool(anyone)
