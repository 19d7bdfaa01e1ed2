"""The line of progress while a run trains."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import lightning as L
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ftlight.run.console import console
from ftlight.training import optim
from ftlight.utils.format import clock, number


class Report(L.Callback):
    """Progress over all epochs: a bar on a terminal, a plain line per epoch otherwise."""

    def __init__(self) -> None:
        self.bar: Progress | None = None
        self.paused = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self.rows, self.begun, self.epoch_begun = 0, time.monotonic(), time.monotonic()
        self.first_step = trainer.global_step
        if trainer.is_global_zero and sys.stdout.isatty():
            columns = (
                "epoch {task.fields[epoch]}",
                BarColumn(),
                MofNCompleteColumn(),
                "loss {task.fields[loss]}",
                "{task.fields[rate]} rows/s",
            )
            parts = [TextColumn(c) if isinstance(c, str) else c for c in columns]
            self.bar = Progress(*parts, TimeRemainingColumn(), console=console, transient=True)
            self.bar.start()
            total = optim.total_steps(trainer) or None
            self.line = self.bar.add_task(
                "", total=total, completed=trainer.global_step, epoch="", loss="", rate=""
            )

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Counts rows; moves the bar a few times a second at most."""
        self.rows += len(batch["index"]) * trainer.world_size
        if self.bar is None or (batch_idx % 10 and batch_idx + 1 != trainer.num_training_batches):
            return
        rate = self.rows / max(1e-9, time.monotonic() - self.epoch_begun)
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        epoch = _epoch(trainer)
        self.bar.update(
            self.line,
            completed=trainer.global_step,
            epoch=epoch,
            loss=f"{float(loss):.4f}",
            rate=f"{rate:.0f}",
        )

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Counts anew."""
        self.rows, self.paused, self.epoch_begun = 0, 0.0, time.monotonic()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops the clock: the rate is that of training alone."""
        self.pause = time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lets the clock go on."""
        self.paused += time.monotonic() - self.pause

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Prints the epoch's line."""
        values = trainer.callback_metrics  # on every rank: it may sync what a user logs
        if not trainer.is_global_zero:
            return
        now, steps, total = (
            time.monotonic(),
            trainer.global_step - self.first_step,
            optim.total_steps(trainer),
        )
        shown = dict.fromkeys(["val/loss", pl_module.monitor, f"val/{pl_module.primary_metric}"])
        parts = [
            f"train/loss {number(float(pl_module.train_loss))}",
            *(f"{k} {number(float(values[k]))}" for k in shown if k in values),
        ]
        left = (now - self.begun) / max(1, steps) * max(0, total - trainer.global_step)
        rate = self.rows / max(1e-9, now - self.epoch_begun - self.paused)
        to_go = f"  {clock(left)} left" if total else ""
        console.print(f"epoch {_epoch(trainer)}  {'  '.join(parts)}  {rate:.0f} rows/s{to_go}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes the bar away."""
        self._stop()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Takes the bar away."""
        self._stop()

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def _epoch(trainer: L.Trainer) -> str:
    """``2/5``, or ``2`` where steps or time end the run."""
    of = f"/{trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else ""
    return f"{trainer.current_epoch + 1}{of}"
