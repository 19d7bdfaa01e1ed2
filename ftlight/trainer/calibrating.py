"""What the probabilities of weights are worth: fitted on validation rows, measured at a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ftlight.data import files
from ftlight.data.module import DataModule
from ftlight.data.near import REPEATS
from ftlight.metrics.calibration import HeldOut, held_out
from ftlight.metrics.collected import select
from ftlight.metrics.sureness import LEAST, Calibration, Sureness
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer.parts import noting
from ftlight.trainer.resume_state import peek
from ftlight.training.checkpoint import pack, write_packed
from ftlight.utils.atomic import write_json, writing
from ftlight.utils.errors import UserError, WriteError

FILE = "calibration.json"


def is_defined(task: Task) -> bool:
    """Whether answers are right or wrong, or numbers: else there is nothing to calibrate."""
    return not (task.refusal("at_least") and task.refusal("coverage"))


def hold_out(task: Task, monitor: str, value: float) -> tuple[HeldOut, float]:
    """Which rows of a validation calibrate, and the monitored value on those that choose.

    From 1,000 rows on these are halves, since weights are the best by chance on rows that chose
    them. When training stops is told by all rows.

    Args:
        task: the task, with its evaluation.
        monitor: name of the monitored value.
        value: the value on all rows.
    """
    result = task.evidence.get("val")
    if result is None or result.outputs is None or result.numbers is None:
        return HeldOut(torch.arange(0), False), value
    numbers, name = result.numbers.tolist(), monitor.removeprefix("val/")
    held, everyone = held_out(len(numbers)), HeldOut(torch.arange(len(numbers)), False)
    if not (held.apart and name in result.values and is_defined(task)):
        return everyone, value
    choose = np.setdiff1d(np.arange(len(numbers)), held.rows.numpy()).tolist()
    targets = None if result.targets is None else select(result.targets, choose)
    rows = task.rows_of("val", [numbers[i] for i in choose])
    return held, task.compute_metrics(select(result.outputs, choose), targets, rows).values[name]


def fit(task: Task, held: HeldOut) -> Calibration | None:
    """Calibrates weights by their validation; None if there is nothing to calibrate.

    Args:
        task: the task, with its evaluation.
        held: the rows that calibrate.
    """
    if not len(held.rows) or not is_defined(task):
        return None
    outputs, targets, rows = told(task, held.rows.tolist())
    return of_rows(task, outputs, targets, rows, held.apart, len(held.rows) - len(rows))


def told(task: Task, held: Sequence[int]) -> tuple[Any, Any, list[Mapping[str, Any]]]:
    """Outputs, targets and rows of a validation that tell what probabilities are worth.

    Rows that are in train, the same or nearly, do not count: a model knows them too well.

    Args:
        task: the task, with its evaluation.
        held: places of the rows in it that may tell.
    """
    result, known = task.evidence["val"], in_train(task)
    assert result.outputs is not None
    assert result.numbers is not None
    chosen = [i for i in held if int(result.numbers[i]) not in known]
    targets = None if result.targets is None else select(result.targets, chosen)
    rows = task.rows_of("val", result.numbers[chosen].tolist()) if chosen else []
    return select(result.outputs, chosen), targets, list(rows)


def of_rows(
    task: Task,
    outputs: Any,
    targets: Any,
    rows: Sequence[Mapping[str, Any]],
    apart: bool,
    left_out: int,
) -> Calibration | None:
    """Calibrates probabilities by rows that did not train them; None if these do not tell.

    Args:
        task: the task.
        outputs: those of the rows.
        targets: those of the rows, or None.
        rows: the rows as read.
        apart: whether other rows chose the epoch.
        left_out: rows that do not count, since they are in train.
    """
    if not len(rows):
        return None
    before = task.weigh(outputs, targets, rows)
    if before is None or not _is_finite(before):
        return None
    temperature = task.fit_temperature(outputs, targets, rows)
    if temperature is not None and len(rows) < LEAST:
        temperature = 1.0
    after = task.weigh(outputs, targets, rows, temperature or 1.0)
    assert after is not None
    return Calibration(
        temperature,
        len(rows),
        apart,
        before.error,
        after.error,
        after.floor,
        after.confidence,
        after.right,
        after.misfits,
        after.unit,
        left_out,
    )


def in_train(task: Task) -> set[int]:
    """Numbers of the validation rows that are in train too, as the audit found them."""
    data = task.data
    if not isinstance(data, DataModule) or data.check == "off" or not data.has("validation"):
        return set()
    twins = data.audited.twins.get("validation")
    return set() if twins is None else set(np.flatnonzero(twins >= REPEATS).tolist())


def of_checkpoint(path: Path) -> Calibration | None:
    """The calibration of the weights in a checkpoint; None if it has none."""
    state = peek(path).get("calibration")
    return None if state is None else Calibration.of_state(state)


def save(calibration: Calibration, path: Path) -> None:
    """Writes a calibration into a file of its own, for ``trainer.calibration``."""
    with writing(path):
        if problem := write_packed(pack({"calibration": calibration._asdict()}), path):
            raise WriteError(problem)


def given(path: str) -> Calibration:
    """The calibration in a file of :func:`save`.

    Raises:
        UserError: there is none.
    """
    found = of_checkpoint(files.there(path, "trainer.calibration"))
    if found is None:
        raise UserError(f"trainer.calibration: {path} holds none; fit --folds writes such a file")
    return found


def adopt(run: RunState, task: Task) -> None:
    """Gives weights that nothing validated the calibration that the run was given, if any."""
    if run.calibration:
        task.calibration = given(run.calibration)


def write(run: RunState) -> None:
    """Writes calibration.json, if the best weights have a calibration."""
    found = None if run.best_path is None else of_checkpoint(run.best_path)
    if found is not None:
        with noting(run, run.home / FILE) as path:
            write_json(path, found.summary(), indent=1)


def measure(task: Task, mixed: bool) -> None:
    """Adds to the evidence of a test what its probabilities are worth.

    Args:
        task: the task, with its evaluation.
        mixed: whether its weights are mixed with the pre-trained ones.
    """
    result = task.evidence["test"]
    if result.outputs is None or result.numbers is None or not is_defined(task):
        return
    rows = task.rows_of("test", result.numbers.tolist())
    found = task.weigh(result.outputs, result.targets, rows)
    if found is None or not _is_finite(found):
        return
    values, shown = dict(result.values), list(result.shown)
    if found.error is not None and found.floor is not None:
        values = {"calibration_error": found.error, **values, "calibration_floor": found.floor}
    if task.calibration is not None and (line := task.calibration.line(found)):
        shown.append(("calibrated", line))
    elif mixed:
        shown.append(("calibrated", "no: a mix of weights has no temperature"))
    task.evidence["test"] = result._replace(values=values, shown=shown)


def _is_finite(found: Sureness) -> bool:
    """Whether all numbers are finite; those of weights that are not are worth nothing."""
    numbers = found.confidence, found.misfits, found.parts[0]
    return all(bool(values.isfinite().all()) for values in numbers)
