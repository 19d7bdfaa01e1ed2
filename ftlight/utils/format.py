"""What a person sees while a run goes on: one table at the start, progress, one table at the end; nothing else."""

from __future__ import annotations

import logging
import math
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor

from ftlight.training import optim

console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)


def quiet() -> None:
    """Silences what a user can do nothing about: tips, adverts and hints of the libraries below."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "datasets", "torch.distributed", "fsspec"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # such as: num_workers is low, the log folder is not empty, modules are in eval mode
    ours = logging.getLogger("ftlight")
    if not ours.handlers:
        ours.setLevel(logging.INFO)
        ours.addHandler(_Lines())
    for module in ("lightning", "torch", "jsonargparse", "torchmetrics", "transformers", "datasets", "wandb"):
        warnings.filterwarnings("ignore", module=rf"{module}(\..*)?")
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


class _Lines(logging.Handler):
    """Prints what ftlight has to say as plain lines, on the first process."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a line."""
        if getattr(rank_zero_only, "rank", 0) in (None, 0):
            console.print(record.getMessage())


def number(value: float | None) -> str:
    """A value for a table: four significant digits, n/a where it is not defined."""
    return "n/a" if value is None or not math.isfinite(value) else f"{value:.4g}"


def count(value: float) -> str:
    """A count in short form.

    >>> count(22713216), count(640)
    ('22.7 M', '640')
    """
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= limit:
            return f"{value / (limit if unit != ' k' else 1e3):.3g}{unit}"
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """A learning rate.

    >>> rate(1e-4), rate(0.01), rate(3.21e-05)
    ('1e-4', '0.01', '3.2e-5')
    """
    return f"{value:.2g}" if value >= 1e-3 else f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")


def clock(seconds: float) -> str:
    """A duration.

    >>> clock(65), clock(3700)
    ('1:05', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def table(rows: Sequence[tuple[str, str]]) -> None:
    """Prints name and value pairs as one table."""
    grid = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    console.print(grid)


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
    """Prints a table with a header."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in head:
        made.add_column(name, no_wrap=True)
    for row in rows:
        made.add_row(*row)
    console.print(made)
    if note:
        console.print(note)


def confusions(matrix: Tensor, labels: Sequence[str], most: int = 5) -> list[str]:
    """The most frequent confusions of a matrix ``[actual, predicted]``, as words."""
    wrong = matrix.clone().fill_diagonal_(0)
    size = len(labels)
    cells = sorted(((int(n), i) for i, n in enumerate(wrong.flatten().tolist()) if n), reverse=True)
    return [f"{labels[i // size]} taken for {labels[i % size]}: {n}" for n, i in cells[:most]]


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
            self.line = self.bar.add_task("", total=total, completed=trainer.global_step, epoch="", loss="", rate="")

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Counts rows; moves the bar a few times a second at most."""
        self.rows += len(batch["index"]) * trainer.world_size
        if self.bar is None or (batch_idx % 10 and batch_idx + 1 != trainer.num_training_batches):
            return
        rate = self.rows / max(1e-9, time.monotonic() - self.epoch_begun)
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        epoch = _epoch(trainer)
        self.bar.update(self.line, completed=trainer.global_step, epoch=epoch, loss=f"{float(loss):.4f}", rate=f"{rate:.0f}")

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
        now, steps, total = time.monotonic(), trainer.global_step - self.first_step, optim.total_steps(trainer)
        shown = dict.fromkeys(["val/loss", pl_module.monitor, f"val/{pl_module.score}"])
        parts = [f"train/loss {number(float(pl_module.train_loss))}", *(f"{k} {number(float(values[k]))}" for k in shown if k in values)]
        left = (now - self.begun) / max(1, steps) * max(0, total - trainer.global_step)
        rate = self.rows / max(1e-9, now - self.epoch_begun - self.paused)
        to_go = f"  {clock(left)} left" if total else ""
        console.print(f"epoch {_epoch(trainer)}  {'  '.join(parts)}  {rate:.0f} rows/s{to_go}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes the bar away."""
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
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
