"""A fine-tuned model: rows in, fields out; for Python, the command line and whatever serves it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch.plugins.precision import Precision

from ftlight.data import files
from ftlight.data.files import LINE, Row
from ftlight.data.module import DataModule
from ftlight.run import folder as runs
from ftlight.run import records
from ftlight.task import Task
from ftlight.trainer import export, saving_run, unsure
from ftlight.trainer.exported import Exported
from ftlight.trainer.predicted import Predicted as Predicted
from ftlight.trainer.predicted import Request
from ftlight.utils.errors import UserError, join_limited
from ftlight.utils.format import counted

log = logging.getLogger(__name__)
BATCH = 64  # padded tokens that take as long as beginning another batch, on a CPU
Answers = dict[int, dict[str, Any]]  # by the number of the row


class Predictor:
    """A task with the data module that feeds it, ready to predict.

    Args:
        task: the fine-tuned task.
        data: its data module, which need not have any files.
        precision: Lightning's plugin of the precision to compute in; by default the weights' own.
        run: folder of the run that trained it, if there is one.
        compute: predicts the rows that the data module holds. Default: here, batch by batch.
    """

    def __init__(
        self,
        task: Task,
        data: DataModule,
        precision: Precision | None = None,
        run: Path | None = None,
        compute: Callable[[], Answers] | None = None,
    ) -> None:
        self.precision = precision or Precision()
        self.task = cast(Task, self.precision.convert_module(task.eval()))
        self.data, self.run = data, run
        self._compute = compute or self._here
        task.datamodule = data
        data.set_task(task)
        data.check_model(task.model)

    def __repr__(self) -> str:
        """Task, backbone, labels, and where it is from."""
        parts = [type(self.task).__name__, f"on {self.task.backbone}"]
        if self.run is not None:
            known = records.facts(self.run).get("backbone", self.task.backbone)
            parts = [parts[0], f"on {known}", f"from {runs.short(self.run)}"]
        labels = join_limited(self.task.labels)
        return f"<Predictor: {' '.join(parts)}{f'; labels: {labels}' if labels else ''}>"

    def predict(
        self,
        rows: Any,
        at_least: float | None = None,
        coverage: float | None = None,
        probabilities: bool = False,
    ) -> list[dict[str, Any]]:
        """Predicts rows, in batches of similar length.

        Args:
            rows: a text, or a mapping with the input columns of training; several of them in a
                list, or as a DataFrame of pandas; or a file, as ``predict`` of the command line
                takes it. A text alone that is the path of such a file is read as the file: give
                texts of others in a list.
            at_least: share of the answered rows that are to be right; the others are unsure.
            coverage: share of rows whose set of labels, or range of numbers, is to hold the truth.
            probabilities: whether rows of a file have the probability of every label, too.

        Returns:
            For each row, in order: ``prediction``, ``score`` and what else the task gives, such as
            ``probabilities`` by label. With ``at_least`` also ``unsure``, and a ``prediction`` of
            None if it is true; with ``coverage`` a ``set``, or ``low`` and ``high``. A row that
            cannot be read, such as a broken image, has a ``prediction`` of None and an ``error``.
            Rows of a file are those of ``predict FILE --out X.jsonl``: their columns, with
            probabilities as ``p(LABEL)``; those that cannot be read are left out, with a line that
            names them.

        Raises:
            UserError: an input column is missing, no row can be read, or the run cannot promise
                what is asked.
        """
        file = self._file(rows)
        if file:
            found = self.answer(self.read(file), file, at_least, coverage)
            if found.faults:
                count = len(found.rows) + len(found.faults)
                log.warning("%s: %s", file, self.data.left_out(found.faults, count))
            _warn(found.note)
            return found.fields(probabilities)
        found = self.answer(self._rows(rows), "rows", at_least, coverage)
        _warn(found.note)
        return found.of_all_rows()

    def answer(
        self,
        rows: list[Row],
        place: str,
        at_least: float | None = None,
        coverage: float | None = None,
        dashes: str = "",
    ) -> Predicted:
        """Predicts rows; every other way to predict goes through here.

        Args:
            rows: rows with the input columns of training.
            place: file of the rows, for errors.
            at_least: share of the answered rows that are to be right, or None.
            coverage: share of rows whose set or range is to hold the truth, or None.
            dashes: what stands before the name of an option in errors.

        Raises:
            UserError: an input column is missing, or the run cannot promise what is asked.
        """
        return self.answer_together([Request(rows, at_least, coverage)], place, dashes)[0]

    def answer_together(
        self, requests: Sequence[Request], place: str, dashes: str = ""
    ) -> list[Predicted]:
        """Predicts the rows of several requests in common batches, and answers each.

        Args:
            requests: rows, and what the answers to them are to keep.
            place: file of the rows, for errors.
            dashes: what stands before the name of an option in errors.

        Raises:
            UserError: one of them cannot be answered; the others can be asked again without it.
        """
        promises = [
            unsure.settle(self.task, self.task.calibration, r.at_least, r.coverage, dashes)
            for r in requests
        ]
        rows = [row for request in requests for row in _numbered(request.rows, len(requests))]
        if not rows:
            return [Predicted([], [], {}, promise) for promise in promises]
        faults = self.data.set_predict(rows, place)
        by_number = self._compute()
        all_empty, found, start, first = set(self.data.empty), list[Predicted](), 0, 0
        for request, promise in zip(requests, promises, strict=True):
            own = {i: faults[start + i] for i in range(len(request.rows)) if start + i in faults}
            read = [row for i, row in enumerate(request.rows) if i not in own]
            if own and not read:
                raise UserError(f"{place}: {self.data.left_out(own, len(request.rows))}")
            numbers = range(first, first + len(read))  # answers have those of rows that were read
            start, first = start + len(request.rows), first + len(read)
            empty = [i for i, number in enumerate(numbers) if number in all_empty]
            answers = [by_number[number] for number in numbers] if by_number else []
            unsure.mark(answers, promise, empty)
            note = self._note(read, place, promise, empty)
            found.append(Predicted(read, answers, own, promise, note))
        return found

    def _note(
        self, rows: list[Row], place: str, promise: unsure.Promise, numbers: Sequence[int]
    ) -> str:
        """How many rows have no text, and which, by their numbers."""
        empty = [rows[i] for i in numbers]
        if not empty:
            return ""
        lines = [row[LINE] for row in empty if LINE in row]  # rows of Python have none
        named = [f"rows[{number}]" for number in numbers]
        where = files.places(lines, 3) if lines else join_limited(named, 3)
        have = "has" if len(empty) == 1 else "have"
        what = "unsure" if promise.threshold is not None else "no more than a guess"
        count = f"{len(empty):,} of {counted(len(rows), 'row')}"
        return f"{place}: {count} {have} no text ({where}): {what}"

    def read(self, file: str) -> list[Row]:
        """The rows of a file to predict.

        Raises:
            UserError: it cannot be read, or has no rows.
        """
        rows = self.data.read_predict(file)
        if not rows:
            raise UserError(f"{file} has a header but no rows")
        return rows

    def export(self, folder: str | Path) -> Path:
        """Writes a folder that stock libraries load with the same scores, and its card.

        Args:
            folder: folder to make; it may be there if it is empty.

        Raises:
            UserError: it is there already, or the model was not loaded from a run.
        """
        if self.run is None:
            raise UserError("only a run can be exported: save(DIR), then ftlight.load(DIR)")
        export.check(Path(folder), "")
        self.task.merge_adapters()
        export.write(Exported(self.run, self.task, self.data), Path(folder))
        return Path(folder)

    def save(self, folder: str | Path) -> Path:
        """Writes a folder that :func:`ftlight.load` and every verb take as a run.

        Args:
            folder: folder to make; it may be there if it is empty.

        Raises:
            UserError: it is there already, or the task was made with what YAML cannot hold.
        """
        return saving_run.save(self.task, self.data, self.run, Path(folder))

    def _file(self, rows: Any) -> str:
        """The file or folder that is given to be read; empty if rows are given."""
        if isinstance(rows, os.PathLike):
            return os.fspath(rows)
        return rows if isinstance(rows, str) and self.data.is_place(rows) else ""

    def _rows(self, given: Any) -> list[Row]:
        """One row or several as mappings of their columns.

        Raises:
            UserError: one is neither a text nor a mapping.
        """
        if isinstance(given, (str, Mapping)):
            given = [given]
        elif hasattr(given, "to_dict") and hasattr(given, "columns"):
            given = given.to_dict("records")
        first, rows = self.data.columns[0], []
        for number, row in enumerate(cast(Iterable[Any], given)):
            if isinstance(row, os.PathLike):
                row = os.fspath(row)
            if not isinstance(row, (str, Mapping)) and not _is_missing(row):
                kind = type(row).__name__
                raise UserError(f"rows[{number}]: expected a text or a mapping, got {kind}")
            cells = row if isinstance(row, Mapping) else {first: row}
            rows.append({name: None if _is_missing(v) else v for name, v in cells.items()})
        return rows

    def _here(self) -> Answers:
        """Predicts the rows of the data module on the device of the task."""
        predictions: Answers = {}
        cost = BATCH if self.task.device.type == "cpu" else 0
        with torch.inference_mode():
            for batch in self.data.predict_dataloader(cost):
                batch = self.precision.convert_input(move_data_to_device(batch, self.task.device))
                with self.precision.predict_step_context():
                    predictions.update(self.task.predict_step(batch))
        return predictions


def _numbered(rows: list[Row], requests: int) -> list[Row]:
    """The rows of one of several requests, numbered as in their own for errors."""
    return rows if requests == 1 else [{LINE: i, **row} for i, row in enumerate(rows, 1)]


def _warn(note: str) -> None:
    if note:
        log.warning(note)


def _is_missing(value: Any) -> bool:
    """Whether a cell of pandas is empty: NaN, NaT, NA or None; in a file it is null."""
    is_nan = isinstance(value, (float, np.floating)) and value != value
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")
