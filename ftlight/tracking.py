"""Weights & Biases: config, labels, metrics and confusion matrix; texts of the data only where the user says so."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from ftlight.errors import UserError
from ftlight.stops import AGAIN


def start(project: str, folder: Path, config: Mapping[str, Any], labels: Sequence[str], known: str | None = None) -> WandbLogger:
    """Starts a W&B run for a run folder, or goes on with the one it ``known``; WANDB_MODE says online, offline or disabled."""
    import wandb

    mode: Any = os.environ.get("WANDB_MODE", "online")  # wandb itself reads it once in a process
    settings = wandb.Settings(silent=True, console="off", mode=mode)  # our own screen says where the run is
    name = f"{folder.parent.name}/{folder.name}"
    logger = WandbLogger(project=project, name=name, save_dir=str(folder), settings=settings, id=known)
    try:
        run = logger.experiment
    except wandb.errors.Error as error:
        why = " ".join(str(error).split())
        raise UserError(f"W&B: {why} (wandb login, or WANDB_MODE=offline)") from error
    run.config.update({**config, "labels": list(labels)}, allow_val_change=True)
    return logger


def confusion(loggers: Sequence[Any], stage: str, matrix: Tensor | None, labels: Sequence[str]) -> None:
    """Logs a confusion matrix ``[actual, predicted]`` as a table of its cells that are not empty."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and matrix is not None:
            cells = [[labels[i], labels[j], int(matrix[i, j])] for i, j in matrix.nonzero().tolist()]
            logger.log_table(f"{stage}/confusion", columns=["actual", "predicted", "count"], data=cells)


def texts(loggers: Sequence[Any], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Logs rows of the test data with their predictions; only called where the user allows it."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table("test/predictions", columns=list(columns), data=[list(r) for r in rows])


def finish(loggers: Sequence[Any], code: int = 0) -> None:
    """Ends W&B runs with the exit status of the process; one that was asked to stop and will go on is marked as preempting."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            if code == AGAIN:
                logger.experiment.mark_preempting()
            logger.experiment.finish(exit_code=code)
