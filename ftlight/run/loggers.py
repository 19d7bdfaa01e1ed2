"""metrics.csv, and Weights & Biases: config, labels, metrics and confusion matrix; texts of the data only where the user says so."""

from __future__ import annotations

import contextlib
import csv
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from ftlight.utils import secrets
from ftlight.utils.errors import UserError


class MetricsFile(Logger):
    """Appends metrics to metrics.csv, one per line (``step, epoch, name, value``): always there, never rewritten."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "metrics.csv"

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.parent.parent.name

    @property
    def version(self) -> str:
        """Time of the run."""
        return self.path.parent.name

    @property
    def save_dir(self) -> str:
        """Folder of the run."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml is the record."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Appends a line per metric."""
        new = not self.path.exists()
        epoch = metrics.get("epoch", "")
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(["step", "epoch", "name", "value"])
            where = "" if step is None else step, int(epoch) if epoch != "" else ""
            writer.writerows(
                [*where, k, repr(float(v))] for k, v in metrics.items() if k != "epoch"
            )


class _Logger(WandbLogger):
    """W&B's logger, which takes no secrets: Lightning hands it whatever a module has called its hyperparameters."""

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Adds hyperparameters to the config."""
        super().log_hyperparams(
            secrets.redact(vars(params) if isinstance(params, Namespace) else params)
        )


def start(
    project: str,
    folder: Path,
    config: Mapping[str, Any],
    labels: Sequence[str],
    known: str | None = None,
) -> WandbLogger:
    """Starts a W&B run for a run folder, or goes on with the one it ``known``; WANDB_MODE says online, offline or disabled."""
    import wandb

    mode: Any = os.environ.get("WANDB_MODE", "online")  # wandb itself reads it once in a process
    settings = wandb.Settings(
        silent=True, console="off", mode=mode
    )  # our own screen says where the run is
    name = f"{folder.parent.name}/{folder.name}"
    logger = _Logger(project=project, name=name, save_dir=str(folder), settings=settings, id=known)
    try:
        with _clean_command():
            run = logger.experiment
    except wandb.errors.Error as error:
        why = " ".join(str(error).split())
        raise UserError(f"W&B: {why} (wandb login, or WANDB_MODE=offline)") from error
    run.config.update({**secrets.redact(config), "labels": list(labels)}, allow_val_change=True)
    return logger


@contextlib.contextmanager
def _clean_command() -> Iterator[None]:
    """Keeps secrets out of the command line, which W&B notes when a run begins."""
    given = sys.argv
    sys.argv = [*given[:1], *secrets.command(given[1:])]
    try:
        yield
    finally:
        sys.argv = given


def confusion(
    loggers: Sequence[Any], stage: str, matrix: Tensor | None, labels: Sequence[str]
) -> None:
    """Logs a confusion matrix ``[actual, predicted]`` as a table of its cells that are not empty."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and matrix is not None:
            cells = [
                [labels[i], labels[j], int(matrix[i, j])] for i, j in matrix.nonzero().tolist()
            ]
            logger.log_table(
                f"{stage}/confusion", columns=["actual", "predicted", "count"], data=cells
            )


def texts(loggers: Sequence[Any], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Logs rows of the test data with their predictions; only called where the user allows it."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table(
                "test/predictions", columns=list(columns), data=[list(r) for r in rows]
            )


def finish(loggers: Sequence[Any], code: int = 0, preempted: bool = False) -> None:
    """Ends W&B runs with the exit status of the process; one that was asked to stop and will go on is marked as preempting."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            if preempted:
                logger.experiment.mark_preempting()
            logger.experiment.finish(exit_code=code)
