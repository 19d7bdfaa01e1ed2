"""Weights & Biases: a run's metrics, each of them once, however often it is killed and resumed.

The step of a row in W&B is the number of values that W&B then has: lines of metrics.csv, which a
resume cuts to its checkpoint. So what W&B has already is not sent again, and what it lacks is read
from that file. A run that had ended and trains on counts on from its end: other values take the
lines of its test.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from ftlight.run import loggers, offline_log, tracked
from ftlight.run.loggers import MetricsFile
from ftlight.utils import secrets
from ftlight.utils.errors import first_line
from ftlight.utils.format import counted
from ftlight.utils.printable import printable

log = logging.getLogger(__name__)
FLUSH = 2.0  # seconds in which W&B has written what it was sent
GOES_ON = "the run goes on without it"


class WandB(WandbLogger):
    """W&B's logger: no secrets, nothing that steers a terminal, no value twice.

    Args:
        file: the run's metrics.csv, which gets each value first.
        run: the W&B run.
        last: the last step that W&B has.
        base: steps before the first line of metrics.csv.
        anew: whether the run had ended, so that the next line takes a new step.
    """

    def __init__(
        self, file: MetricsFile, run: Any, last: int = 0, base: int = 0, anew: bool = False
    ) -> None:
        super().__init__(experiment=run)
        self.file, self.last, self.base, self.anew = file, last, base, anew

    @property
    def sent(self) -> int:
        """Lines of metrics.csv that W&B has."""
        return self.last - self.base

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
        if self.anew:
            self.anew, self.base = False, self.last - begin
            tracked.count_from(Path(self.file.save_dir), self.base)
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
        self.experiment.log({**row, **known}, step=self.base + end)
        self.last = self.base + end


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


def start(about: Mapping[str, Any], file: MetricsFile, config: Mapping[str, Any]) -> WandB | None:
    """Starts a W&B run for a run folder, or continues one.

    Without a connection, or with a wrong key, the log stays on this machine; a line says so.

    Args:
        about: project, id, group and kind, as :func:`tracked.settle` gives them.
        file: the run's metrics.csv.
        config: what W&B shows as the run's config; secrets in it are hidden.

    Returns:
        None if W&B is disabled, or cannot be used at all; a line says why.
    """
    try:
        import wandb  # noqa: F401
    except ImportError:
        log.warning("W&B is not installed: pip install wandb; %s", GOES_ON)
        return None
    # wandb reads it only once per process; without it, what `wandb offline` has set counts
    wanted = os.environ.get("WANDB_MODE", "")
    why = ""
    for mode in dict.fromkeys((wanted, "offline")):
        try:
            tracker = _started(about, file, clean(config), mode)
        except Exception as error:
            why = why or first_line(error)
            # W&B's process may still hold the id: the log here is a whole run of its own
            about = {**about, "id": tracked.new_id(), "base": 0, "anew": False}
            continue
        if tracker is None:  # W&B is disabled
            return None
        if why:
            way = f"the log stays in {file.save_dir}/wandb: wandb sync sends it"
            log.warning("W&B: %s (wandb login, or WANDB_MODE=offline); %s", why, way)
        return tracker
    log.warning("W&B: %s; %s", why, GOES_ON)
    return None


def _started(
    about: Mapping[str, Any], file: MetricsFile, config: Mapping[str, Any], mode: str
) -> WandB | None:
    folder = Path(file.save_dir)
    run = tracked.begin(folder, about, mode)
    if run.disabled:
        return None
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    run.config.update(config, allow_val_change=True)
    # online W&B says what it has
    last = offline_log.last_step(folder, run.id) if run.offline else run.starting_step - 1
    base, anew = about.get("base", 0), about.get("anew", False)
    if last <= 0 and (base or anew):  # the steps that these count from were never sent
        last = base = 0
        anew = False
        tracked.count_from(folder, base)
    return WandB(file, run, max(0, last), base, anew)


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
    for logger in given:
        if isinstance(logger, WandbLogger):
            loggers.attempt(logger, _finish, logger, code, preempted)
            if loggers.is_broken(logger):
                _let_go()


def _let_go() -> None:
    """Leaves W&B's process, so that nothing is said of it again when this one exits."""
    import wandb

    with contextlib.suppress(Exception):
        wandb.teardown()


def _finish(logger: WandbLogger, code: int, preempted: bool) -> None:
    if isinstance(logger, WandB):
        logger.catch_up()
    run = logger.experiment
    if preempted:
        run.mark_preempting()
    run.finish(exit_code=code)
    if isinstance(logger, WandB) and run.offline:
        _check_written(logger, run.id)


def _check_written(tracker: WandB, name: str) -> None:
    """Looks whether all is on the disk: W&B says nothing of one that is full.

    Raises:
        OSError: it is not.
    """
    folder, until = Path(tracker.file.save_dir), time.monotonic() + FLUSH
    while (has := offline_log.last_step(folder, name)) < tracker.last:
        if time.monotonic() > until:
            lacks = counted(tracker.last - has, "value")
            raise OSError(f"{lacks} could not be written into {folder}/wandb")
        time.sleep(0.05)
