"""Loggers: metrics.csv, and what keeps another from ending a run."""

from __future__ import annotations

import csv
import functools
import io
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from ftlight.utils.atomic import append, why_unwritten
from ftlight.utils.errors import first_line

log = logging.getLogger(__name__)


class Row(NamedTuple):
    """Values of one step in metrics.csv.

    Attributes:
        values: values by name.
        step: optimizer step; None if it has none.
        epoch: epoch; None likewise.
        end: number of lines up to the last of them.
    """

    values: Mapping[str, float]
    step: int | None
    epoch: int | None
    end: int


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
        self._lines: int | None = None  # until a resume has cut the file

    @property
    def lines(self) -> int:
        """Number of lines so far, those that wait among them."""
        if self._lines is None:
            self._lines = sum(1 for _ in self._read())
        return self._lines

    def rows(self, begin: int, end: int) -> Iterator[Row]:
        """Lines of the file, those of one step together.

        Args:
            begin: lines that come before.
            end: lines up to the last one.
        """
        values: dict[str, float] = {}
        place: tuple[str, str] | None = None
        for number, line in enumerate(itertools.islice(self._read(), begin, end), begin):
            step, epoch, name, value = line
            if values and ((step, epoch) != place or name in values):
                yield _row(values, place, number)
                values = {}
            values[name], place = float(value), (step, epoch)
        if values:
            yield _row(values, place, end)

    def _read(self) -> Iterator[list[str]]:
        if not self.path.is_file():
            return
        with self.path.open(newline="", encoding="utf-8") as file:
            next(file, None)
            yield from csv.reader(file)

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
        epoch, before = metrics.get("epoch", ""), self.lines
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        at_step = "" if step is None else step
        at_epoch = int(epoch) if epoch != "" else ""
        for name, value in metrics.items():
            if name != "epoch":
                writer.writerow([at_step, at_epoch, name, repr(float(value))])
        self._lines = before + len(metrics) - ("epoch" in metrics)
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


def _row(values: Mapping[str, float], place: tuple[str, str] | None, end: int) -> Row:
    step, epoch = place or ("", "")
    return Row(values, int(step) if step else None, int(epoch) if epoch else None, end)


def guard(logger: Logger) -> Logger:
    """Lets a logger fail without ending the run.

    A signal that reaches W&B's process too breaks the connection to it, and its folder may be on a
    full disk.
    """
    for name in ("log_hyperparams", "log_metrics", "log_table", "save", "finalize"):
        if hasattr(logger, name):
            setattr(logger, name, functools.partial(attempt, logger, getattr(logger, name)))
    return logger


def is_broken(logger: Logger) -> bool:
    """Whether a logger has failed."""
    return bool(vars(logger).get("is_broken"))


def attempt(logger: Logger, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a logger; says of its first fault what it is, and nothing of later ones."""
    faults = Exception if isinstance(logger, WandbLogger) else OSError
    try:
        return call(*args, **kwargs)
    except faults as error:
        if not is_broken(logger):
            log.warning(
                "%s: %s; the run goes on, its log may lack some of it",
                type(logger).__name__,
                first_line(error),
            )
        vars(logger)["is_broken"] = True
    return None
