"""Weights & Biases: a run's metrics, each of them once, however often it is killed and resumed.

The step of a row in W&B is the number of values that W&B then has: lines of metrics.csv, which a
resume cuts to its checkpoint. So what W&B has already is not sent again, and what it lacks is read
from that file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from ftlight.run import loggers, offline_log
from ftlight.run.loggers import MetricsFile
from ftlight.utils import secrets
from ftlight.utils.errors import first_line
from ftlight.utils.printable import printable

log = logging.getLogger(__name__)
GOES_ON = "the run goes on without it"


class WandB(WandbLogger):
    """W&B's logger: no secrets, nothing that steers a terminal, no value twice.

    Args:
        file: the run's metrics.csv, which gets each value first.
        options: of Lightning's WandbLogger.
    """

    def __init__(self, file: MetricsFile, **options: Any) -> None:
        super().__init__(**options)
        self.file = file
        self.sent = 0  # lines of metrics.csv that W&B has

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Adds hyperparameters to the config."""
        values = vars(params) if isinstance(params, Namespace) else params
        super().log_hyperparams(clean(values))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Sends metrics that metrics.csv has just got, after those that W&B lacks."""
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        begin = self.file.lines - len(values)
        self.catch_up(begin)
        new = dict(list(values.items())[max(0, self.sent - begin) :])
        if new:
            self._send(new, step, metrics.get("epoch"), self.file.lines)

    def catch_up(self, until: int | None = None) -> None:
        """Sends the lines of metrics.csv that W&B lacks.

        Args:
            until: number of lines that it is to have then. Default: all.
        """
        end = self.file.lines if until is None else until
        if self.sent < end:
            for row in self.file.rows(self.sent, end):
                self._send(row.values, row.step, row.epoch, row.end)

    def _send(
        self, values: Mapping[str, float], step: int | None, epoch: float | None, end: int
    ) -> None:
        about = {"trainer/global_step": step, "epoch": epoch}
        known = {name: value for name, value in about.items() if value is not None}
        row = {printable(name): value for name, value in values.items()}
        self.experiment.log({**row, **known}, step=end)
        self.sent = end


def clean(data: Any) -> Any:
    r"""A copy of what is sent: secrets are hidden, and no text steers a terminal.

    >>> clean({"model": {"api_key": "abc", "labels": ["a\x1b[31m"]}})
    {'model': {'api_key': '<secret, not kept>', 'labels': ['a␛[31m']}}
    """
    return _printable(secrets.redact(data))


def _printable(data: Any) -> Any:
    if isinstance(data, str):
        return printable(data)
    if isinstance(data, Mapping):
        return {printable(str(key)): _printable(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_printable(value) for value in data]
    return data


def start(about: Mapping[str, str], file: MetricsFile, config: Mapping[str, Any]) -> WandB | None:
    """Starts a W&B run for a run folder, or continues one.

    Without a connection, or with a wrong key, the log stays on this machine; a line says so.

    Args:
        about: project, id, group and kind, as :func:`tracked.settle` gives them.
        file: the run's metrics.csv.
        config: what W&B shows as the run's config; secrets in it are hidden.

    Returns:
        None if W&B cannot be used at all; a line says why.
    """
    try:
        import wandb  # noqa: F401
    except ImportError:
        log.warning("W&B is not installed: pip install wandb; %s", GOES_ON)
        return None
    wanted = os.environ.get("WANDB_MODE", "online")  # wandb reads it only once per process
    why = ""
    for mode in dict.fromkeys((wanted, "offline")):
        try:
            tracker = _started(about, file, clean(config), mode)
        except Exception as error:
            why = why or first_line(error)
            continue
        if why:
            way = f"the log stays in {file.save_dir}/wandb: wandb sync sends it"
            log.warning("W&B: %s (wandb login, or WANDB_MODE=offline); %s", why, way)
        return tracker
    log.warning("W&B: %s; %s", why, GOES_ON)
    return None


def _started(
    about: Mapping[str, str], file: MetricsFile, config: Mapping[str, Any], mode: Any
) -> WandB:
    import wandb

    folder = Path(file.save_dir)
    settings = wandb.Settings(silent=True, console="off", mode=mode)  # our screen names the run
    name = f"{folder.parent.name}/{folder.name}"
    tracker = WandB(file, name=name, save_dir=str(folder), settings=settings, **about)
    with _clean_command():
        run = tracker.experiment
    run.config.update(config, allow_val_change=True)
    # online W&B says what it has
    has = offline_log.last_step(folder, run.id) if mode == "offline" else run.starting_step - 1
    tracker.sent = max(0, has)
    return tracker


@contextlib.contextmanager
def _clean_command() -> Iterator[None]:
    """Hides secrets of the command line, which W&B records at the start of a run."""
    argv = sys.argv
    sys.argv = [*argv[:1], *secrets.command(argv[1:])]
    try:
        yield
    finally:
        sys.argv = argv


def of(given: list[Logger]) -> list[WandB]:
    """The W&B loggers of ours among a trainer's."""
    return [logger for logger in given if isinstance(logger, WandB)]


def finish(given: list[Logger], code: int = 0, preempted: bool = False) -> None:
    """Ends W&B runs.

    Args:
        given: all loggers of the run.
        code: exit status of the process.
        preempted: whether the run was interrupted and will be resumed.
    """
    for tracker in of(given):
        loggers.attempt(tracker, _finish, tracker, code, preempted)


def _finish(tracker: WandB, code: int, preempted: bool) -> None:
    tracker.catch_up()
    if preempted:
        tracker.experiment.mark_preempting()
    tracker.experiment.finish(exit_code=code)
