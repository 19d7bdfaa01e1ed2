"""The line of progress while a run trains."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning as L
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ftlight.run.console import console
from ftlight.training import optim
from ftlight.utils.format import clock, number

AROUND = 56  # characters of a line of progress beside its bar


class Report(L.Callback):
    """Progress over all epochs: a bar on a terminal, otherwise a plain line per epoch.

    Args:
        shows: whether it is shown; the clock runs all the same.

    Attributes:
        rows: rows of the epoch so far, of all processes.
        seconds: seconds of its training at its end, without validation.
        paused: seconds of its validations.
        rate: rows per second of training.
        rest: seconds that a forecast gives the rest of the run after so many optimizer steps, or
            None.
    """

    def __init__(self, shows: bool = True) -> None:
        self.shows = shows
        self.bar: Progress | None = None
        self.rows = 0
        self.seconds = self.paused = self.rate = 0.0
        self.rest: Callable[[int], float] | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self.rows = 0
        self.begun = self.epoch_begun = time.monotonic()
        self.first_step = trainer.global_step
        if self.shows and trainer.is_global_zero and sys.stdout.isatty():
            self._start_bar(trainer)

    def _start_bar(self, trainer: L.Trainer) -> None:
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=max(5, min(40, console.width - AROUND))),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[rate]} rows/s"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
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
        """Counts rows; moves the bar at every tenth batch."""
        self.rows += len(batch["index"]) * trainer.world_size
        if self.bar is None or (batch_idx % 10 and batch_idx + 1 != trainer.num_training_batches):
            return
        rate = self.rows / max(1e-9, time.monotonic() - self.epoch_begun)
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        self.bar.update(
            self.line,
            completed=trainer.global_step,
            epoch=_epoch(trainer),
            loss=f"{float(loss):.4f}",
            rate=f"{rate:.0f}",
        )

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Counts from zero again."""
        self.rows, self.paused, self.epoch_begun = 0, 0.0, time.monotonic()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops the clock: the rate is that of training alone."""
        self.pause = time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock again."""
        self.paused += time.monotonic() - self.pause

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Prints the epoch's line."""
        values = trainer.callback_metrics  # on every process: it may sync what a user logs
        now = time.monotonic()
        self.seconds = now - self.epoch_begun - self.paused
        self.rate = self.rows / max(1e-9, self.seconds)
        if not self.shows or not trainer.is_global_zero or not self.rows:
            return
        shown = dict.fromkeys(["val/loss", pl_module.monitor, f"val/{pl_module.primary_metric}"])
        parts = [f"train/loss {number(float(pl_module.train_loss))}"]
        parts += [f"{name} {number(float(values[name]))}" for name in shown if name in values]
        parts = [f"epoch {_epoch(trainer)}", *parts, f"{self.rate:.0f} rows/s"]
        if total := optim.total_steps(trainer):
            parts.append(f"{clock(self._left(now - self.begun, trainer.global_step, total))} left")
        console.print(side_by_side(parts, console.width))

    def _left(self, spent: float, done: int, total: int) -> float:
        """Seconds that are left if the rest is as much slower than its forecast as what is done."""
        rest = self.rest or (lambda step: float(max(0, total - step)))
        return rest(done) * spent / max(1e-9, rest(self.first_step) - rest(done))

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


def side_by_side(parts: Sequence[str], width: int) -> str:
    """Parts of a line with two spaces between them; what a screen has no room for goes below.

    >>> print(side_by_side(["epoch 1/5", "train/loss 0.5", "val/loss 0.25"], 30))
    epoch 1/5  train/loss 0.5
      val/loss 0.25
    """
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + 2 + len(part) > width:
            lines.append("")
        lines[-1] += f"  {part}" if lines[-1] or len(lines) > 1 else part
    return "\n".join(lines)


def _epoch(trainer: L.Trainer) -> str:
    """``2/5``; ``2`` if the number of epochs does not end the run."""
    epochs, steps = trainer.max_epochs or 0, optim.max_steps(trainer)
    ends = epochs > 0 and not 0 < steps < epochs * optim.steps_per_epoch(trainer)
    return f"{trainer.current_epoch + 1}{f'/{epochs}' if ends else ''}"
