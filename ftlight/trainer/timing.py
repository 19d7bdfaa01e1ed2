"""The callback that notes how long each epoch took, in epochs.csv.

Not in metrics.csv, which of a resumed run is the same to the byte as of one that was not stopped.
"""

from __future__ import annotations

import contextlib
from typing import Any

import lightning as L

from ftlight.run.state import RunState
from ftlight.training.progress import Report

FILE = "epochs.csv"
HEAD = "epoch,step,rows,seconds,validation_seconds,rows_per_second\n"


class Timing(L.Callback):
    """Appends a line to epochs.csv after each epoch; one that a resumed run repeats has two.

    Args:
        run: state of the run.
        report: counts rows and seconds, and comes before this callback.
    """

    def __init__(self, run: RunState, report: Report) -> None:
        self.run, self.report = run, report

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Appends the line."""
        if not trainer.is_global_zero or self.run.folder is None or not self.report.rows:
            return
        report, epoch = self.report, trainer.current_epoch + 1
        times = f"{report.seconds:.2f},{report.paused:.2f},{report.rate:.2f}"
        # on a full disk the line is lost: no result depends on it
        with contextlib.suppress(OSError), (self.run.home / FILE).open("a") as file:
            if not file.tell():
                file.write(HEAD)
            file.write(f"{epoch},{trainer.global_step},{report.rows},{times}\n")
