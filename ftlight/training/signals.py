"""Signals that ask a run to stop: noted at once, agreed on by all, obeyed between two steps."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import Any

import lightning as L

from ftlight.run import console as screen
from ftlight.run.state import RunState
from ftlight.training.lightning_internals import SignalConnector
from ftlight.utils import distributed
from ftlight.utils.errors import WriteError

SIGNALS = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")
    if hasattr(signal, name)
]
BROKEN_PIPE = getattr(signal, "SIGPIPE", 13)
EXIT_REQUEUE = 75  # EX_TEMPFAIL: the script of a job requeues on it
EXIT_UNSAVED = WriteError.status  # EX_IOERR: something is not on the disk; make room, and resume
TWICE = 1.0  # seconds within which a second signal is the first one, sent to the group as well
NOTED = b"\nstopping: the run is saved after this step (once more: it stops at once)\n"


def status(signum: int) -> int:
    """Exit status of a run that a signal ended: 75, which asks to try again.

    It is 130 after Ctrl-C and 141 if nobody reads the output any more, as in shells.

    >>> status(signal.SIGINT), status(signal.SIGTERM)
    (130, 75)
    """
    return 128 + signum if signum in (signal.SIGINT, BROKEN_PIPE) else EXIT_REQUEUE


class RunInterrupted(SystemExit):
    """Ends a run that was asked to stop, after its state was saved."""

    def __init__(self, signum: int, code: int) -> None:
        super().__init__(code)
        self.signum = signum


class Signals(SignalConnector):
    """Notes the first signal while a run trains; a second one stops it at once.

    A terminal that was closed (SIGHUP) and a reader of the output that has left (SIGPIPE) are such
    signals: the run is saved.

    Lightning's own saves in the handler, uses collectives there (which hangs if only one process
    gets the signal) and exits with 0.

    Args:
        trainer: the trainer.
        run: state of its run.
    """

    received = 0
    at = 0.0

    def __init__(self, trainer: L.Trainer, run: RunState) -> None:
        super().__init__(trainer)
        self.run = run

    def register_signal_handlers(self) -> None:
        """Handles the signals during training only; other verbs end at once, like any program."""
        if not self.run.fitting or threading.current_thread() is not threading.main_thread():
            return
        self.teardown()
        before = {s: signal.getsignal(s) for s in SIGNALS}
        # an ignored signal stays ignored: a shell ignores Ctrl-C for jobs in the background
        handled: dict[Any, Any] = {s: h for s, h in before.items() if h is not signal.SIG_IGN}
        self._original_handlers = handled  # teardown of the base class restores these
        self.terminals = [number for number in (1, 2) if os.isatty(number)]
        for signum in handled:
            signal.signal(signum, self._note)
        screen.console.on_no_reader = lambda: self._note(BROKEN_PIPE, None)

    def teardown(self) -> None:
        """Restores what signals did before."""
        super().teardown()
        screen.console.on_no_reader = None

    def _note(self, signum: int, frame: Any) -> None:
        now = time.monotonic()
        if signum == getattr(signal, "SIGHUP", 0):
            for number in self.terminals:
                if not os.isatty(number):  # it is closed, and every write to it an error
                    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        if not self.received:
            self.received, self.at = signum, now
            if self.trainer.is_global_zero:
                with contextlib.suppress(OSError):  # standard error may lie on a full disk
                    os.write(2, NOTED)
        elif now - self.at > TWICE:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)


class Agreement:
    """Decides between steps, for all processes alike, whether to stop or to save.

    Asking costs a collective, so processes ask about once a second. How many steps that is, they
    agree on too.
    """

    def __init__(self) -> None:
        self.every = 1
        self.count = 0
        self.asked = time.monotonic()

    def sync(self, trainer: L.Trainer, signum: int, due: bool) -> tuple[int, bool]:
        """The highest signal of any process, and whether any wants to save.

        Between two questions these are 0 and false.

        Args:
            trainer: the trainer; all its processes must call this equally often.
            signum: signal that this process has received, or 0.
            due: whether it is time to save, by this process's clock.
        """
        if trainer.world_size == 1:
            return signum, due
        self.count += 1
        if self.count < self.every:
            return 0, False
        now = time.monotonic()
        mine = [signum, due, (now - self.asked) / self.count]
        device = trainer.strategy.root_device
        highest, anyone, seconds = distributed.reduce(mine, "max", device, trainer.world_size)
        steps_per_second = 1.0 / max(seconds, 1e-9)
        self.every = int(min(max(steps_per_second, 1), 1000))
        self.count = 0
        self.asked = now
        return int(highest), bool(anyone)
