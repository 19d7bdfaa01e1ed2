"""Run by two processes (see test_stops.py): the same training again and again in one group of processes, stopped in many ways."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
from test_resume import differences, everything, run

from ftlight.stops import Stopped

HOW: dict[str, Any] = {
    "model": {"unfreeze": "gradual", "cache": False},
    "trainer": {"devices": 2, "strategy": "ddp", "val_check_interval": 2},
}
# where, at which step, on which processes
STOPS = [
    ("on_train_batch_start", 1, (0,)),
    ("on_train_batch_start", 2, (1,)),
    ("on_train_batch_end", 3, (0, 1)),
    ("on_validation_batch_start", 2, (0,)),
    ("on_validation_batch_start", 2, (1,)),
    ("on_validation_batch_end", 3, (0, 1)),
    ("on_save_checkpoint", 2, (1,)),
    ("on_test_batch_start", 6, (1,)),
]


class SignalAt(L.Callback):
    """A real signal to this process, once, at a hook."""

    def __init__(self, hook: str, step: int, ranks: tuple[int, ...]) -> None:
        self.step, self.ranks, self.sent = step, ranks, 0.0
        setattr(self, hook, self._send)

    def _send(self, trainer: Any, *rest: Any) -> None:
        if trainer.global_step >= self.step and trainer.global_rank in self.ranks and not self.sent:
            self.sent = time.monotonic()
            os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    rank, backbone, rows, folder = int(os.environ["RANK"]), sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
    run(backbone, rows, folder / "whole", HOW)
    for number, (hook, step, ranks) in enumerate(STOPS):
        stop, here = SignalAt(hook, step, ranks), folder / f"stop{number}"
        how = {**HOW, "trainer": {**HOW["trainer"], "save_every": 1 if hook == "on_save_checkpoint" else "10m"}}
        code: int | None = None
        try:
            run(backbone, rows, here, how, stop)
        except Stopped as stopped:
            code = stopped.code  # type: ignore[assignment]
        assert code == 75, (rank, hook, ranks, code)
        assert not stop.sent or time.monotonic() - stop.sent < 10, (rank, hook, ranks)
        run(backbone, rows, here, how, resume=True)
        if rank == 0:
            found = differences(everything(folder / "whole"), everything(here))
            assert not found, (hook, ranks, found)
    print(f"process {rank}: {len(STOPS)} stops")


if __name__ == "__main__":
    main()
