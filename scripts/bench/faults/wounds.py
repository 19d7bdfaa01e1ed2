"""A callback that harms one process of a training, once, at a chosen place."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L

from ftlight.utils.errors import UserError

# Place: the hook of Lightning at which it happens, and from which optimizer step on.
PLACES = {
    "start": ("", 0),
    "setup": ("setup", 0),
    "cache": ("", 0),
    "training": ("on_train_batch_start", 4),
    "validation": ("on_validation_batch_start", 5),
    "saving": ("on_save_checkpoint", 4),
    "test": ("on_test_batch_start", 5),
    "predict": ("on_predict_batch_start", 0),
}
KINDS = ("kill", "crash", "raise", "wrong", "memory", "disk", "exit", "stuck", "loader")


class Wound(L.Callback):
    """Harms a process.

    Args:
        place: one of PLACES.
        kind: kill and crash are signals 9 and 11; raise, wrong (data), memory and disk are errors;
            exit is sys.exit(3); stuck is an error after which the process waits for ever; loader is
            signal 9 to the processes that load its batches.
        rank: the process that is harmed.
        mark: file that is written when it happens.
        busy: whether the other process computes for ever at that place, without a collective.
    """

    def __init__(self, place: str, kind: str, rank: int, mark: str, busy: bool = False) -> None:
        hook, self.step = PLACES[place]
        self.place, self.kind, self.rank, self.mark, self.busy = place, kind, rank, mark, busy
        if hook:
            setattr(self, hook, self._at)
        elif place == "cache":
            self._in_cache()
        else:
            self._harm(int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0))))

    def _at(self, trainer: Any, *rest: Any, **more: Any) -> None:
        if trainer.global_step >= self.step:
            self._harm(trainer.global_rank)

    def _in_cache(self) -> None:
        from ftlight.freezing.store import ActivationStore

        flush = ActivationStore.flush

        def harmed(store: Any) -> None:
            self._harm(int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0))))
            flush(store)

        ActivationStore.flush = harmed  # type: ignore[method-assign]

    def _harm(self, rank: int) -> None:
        mark = Path(self.mark)
        if rank != self.rank:
            while self.busy:
                time.sleep(0.1)
            return
        if not mark.exists():
            if self.place == "start" and self.kind in ("kill", "crash"):
                _wait_for_the_other()
            mark.write_text(str(time.time()))
            harm(self.kind)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Waits for ever, as for a tracker that cannot be reached."""
        while self.kind == "stuck" and trainer.global_rank == self.rank:
            time.sleep(0.1)


def _wait_for_the_other() -> None:
    """Waits until the processes know each other: an end before that only their launcher can see."""
    from ftlight.training import group

    while not (group._Group.peers and group._Group.peers.links):
        time.sleep(0.05)


def harm(kind: str) -> None:
    """Harms this process."""
    if kind in ("kill", "crash"):
        os.kill(os.getpid(), signal.SIGKILL if kind == "kill" else signal.SIGSEGV)
    if kind == "wrong":
        raise UserError("toy.csv:7: no label")
    if kind == "memory":
        raise MemoryError
    if kind == "disk":
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere/file")
    if kind == "loader":
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)
        return
    if kind == "exit":
        sys.exit(3)
    raise RuntimeError("a fault of a callback")
