"""Loggers: metrics.csv, and Weights & Biases.

W&B gets config, labels, metrics and confusion matrices; rows of the data only if the user asks for
it.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from ftlight.utils import secrets
from ftlight.utils.atomic import append, why_unwritten
from ftlight.utils.errors import UserError, first_line

log = logging.getLogger(__name__)


class MetricsFile(Logger):
    """Appends metrics to metrics.csv, one per line: ``step, epoch, name, value``.

    Lines that the disk has no room for wait, and are written first the next time.

    Args:
        folder: folder of the run.
    """

    HEAD = "step,epoch,name,value\n"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "metrics.csv"
        self.waiting = ""

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
        """Does nothing: config.yaml is the record."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Appends a line for each metric."""
        epoch = metrics.get("epoch", "")
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        at_step = "" if step is None else step
        at_epoch = int(epoch) if epoch != "" else ""
        for name, value in metrics.items():
            if name != "epoch":
                writer.writerow([at_step, at_epoch, name, repr(float(value))])
        waited = bool(self.waiting)
        self.waiting += lines.getvalue()
        problem = self._append(sync=False)
        if problem and not waited:
            log.warning("%s; its lines are kept in memory until then", problem)

    def flush(self) -> str:
        """Puts all lines on the disk. Returns why they could not be; empty if they could."""
        return self._append(sync=True)

    def _append(self, sync: bool) -> str:
        """Appends the lines that wait, all of them or none. Returns why it could not."""
        try:
            append(self.path, self.waiting, self.HEAD, sync)
        except OSError as error:
            return f"{self.path} cannot be written: {why_unwritten(error)}"
        self.waiting = ""
        return ""


class WandB(WandbLogger):
    """W&B's logger without secrets, as Lightning passes it all hyperparameters of a module."""

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Adds hyperparameters to the config."""
        values = vars(params) if isinstance(params, Namespace) else params
        super().log_hyperparams(secrets.redact(values))


def start(
    project: str,
    folder: Path,
    config: Mapping[str, Any],
    labels: Sequence[str],
    known: str | None = None,
) -> WandbLogger:
    """Starts a W&B run for a run folder, or continues one.

    Args:
        project: W&B's project.
        folder: the run folder.
        config: the run's config; secrets in it are hidden.
        labels: names of the classes.
        known: id of the W&B run to continue.

    Raises:
        UserError: W&B refuses.
    """
    import wandb

    mode: Any = os.environ.get("WANDB_MODE", "online")  # wandb reads it only once per process
    settings = wandb.Settings(silent=True, console="off", mode=mode)  # our screen names the run
    name = f"{folder.parent.name}/{folder.name}"
    logger = WandB(project=project, name=name, save_dir=str(folder), settings=settings, id=known)
    values = {**secrets.redact(config), "labels": list(labels)}
    try:
        with _clean_command():
            run = logger.experiment
        run.config.update(values, allow_val_change=True)
    except (wandb.errors.Error, OSError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"W&B: {why} (wandb login, or WANDB_MODE=offline)") from error
    return logger


def guard(logger: Logger) -> Logger:
    """Lets a logger fail without ending the run.

    A signal that reaches W&B's process too breaks the connection to it, and its folder may be on a
    full disk.
    """
    for name in ("log_hyperparams", "log_metrics", "log_table", "save", "finalize"):
        if hasattr(logger, name):
            setattr(logger, name, functools.partial(_attempt, logger, getattr(logger, name)))
    return logger


def _attempt(logger: Logger, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a logger; says of its first fault what it is, and nothing of later ones."""
    faults = Exception if isinstance(logger, WandbLogger) else OSError
    try:
        return call(*args, **kwargs)
    except faults as error:
        if not vars(logger).get("is_broken"):
            log.warning(
                "%s: %s; the run goes on, its log may lack some of it",
                type(logger).__name__,
                first_line(error),
            )
        vars(logger)["is_broken"] = True
    return None


@contextlib.contextmanager
def _clean_command() -> Iterator[None]:
    """Hides secrets of the command line, which W&B records at the start of a run."""
    argv = sys.argv
    sys.argv = [*argv[:1], *secrets.command(argv[1:])]
    try:
        yield
    finally:
        sys.argv = argv


def confusion(
    loggers: Sequence[Any], stage: str, matrix: Tensor | None, labels: Sequence[str]
) -> None:
    """Logs a confusion matrix ``[actual, predicted]`` to W&B, as a table of its non-empty cells."""
    if matrix is None:
        return
    cells = [[labels[i], labels[j], int(matrix[i, j])] for i, j in matrix.nonzero().tolist()]
    columns = ["actual", "predicted", "count"]
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table(f"{stage}/confusion", columns=columns, data=cells)


def texts(loggers: Sequence[Any], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Logs rows of the test data and their predictions to W&B, which the user has to ask for."""
    data = [list(row) for row in rows]
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table("test/predictions", columns=list(columns), data=data)


def finish(loggers: Sequence[Any], code: int = 0, preempted: bool = False) -> None:
    """Ends W&B runs.

    Args:
        loggers: all loggers of the run.
        code: exit status of the process.
        preempted: whether the run was interrupted and will be resumed.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            _attempt(logger, _finish, logger, code, preempted)


def _finish(logger: WandbLogger, code: int, preempted: bool) -> None:
    if preempted:
        logger.experiment.mark_preempting()
    logger.experiment.finish(exit_code=code)
