"""How good weights are on each row: outcomes-validation.npz and outcomes-test.npz of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ftlight.data.module import DataModule
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer.parts import noting
from ftlight.utils.atomic import atomic_write


def of(task: Task, stage: str) -> dict[str, Tensor]:
    """How good each row of an evaluation is, with what a verdict needs beside that.

    Args:
        task: the task, with its evaluation.
        stage: val or test.

    Returns:
        What :meth:`ftlight.task.Task.row_outcomes` gives; if they are known ``chance``, the score
        of each row if answers are dealt at random, and ``sure``, how sure its answer is.
    """
    found, result = task.row_outcomes(stage), task.evidence[stage]
    if not found:
        return found
    rows = task.rows_of(stage, result.numbers.tolist())  # type: ignore[union-attr]
    chance = task.chance_scores(result, rows)
    sure = task.weigh(result.outputs, result.targets, rows)
    if chance is not None:
        found["chance"] = chance
    if sure is not None and len(sure.confidence) == len(found["scores"]):
        found["sure"] = sure.confidence.double()
    return found


def write(
    run: RunState, path: Path, outcomes: dict[str, Tensor], data: Any, split: str = "validation"
) -> None:
    """Writes the outcomes of the rows of a split into a file, if there are any.

    The file holds ``rows``, ``scores`` and, if the data module knows them, ``keys``: what makes
    rows of other runs the same ones, whatever their number. What has no room is noted.

    Args:
        run: state of the run.
        path: the file.
        outcomes: as :meth:`ftlight.task.Task.row_outcomes` gives them.
        data: the data module.
        split: the split.
    """
    if not outcomes:
        return
    arrays = {name: values.numpy() for name, values in outcomes.items()}
    if isinstance(data, DataModule) and data.has(split):
        keys = data.duplicate_keys(data.load_split(split))
        if keys is not None:
            arrays["keys"] = np.array([keys[row].encode() for row in outcomes["rows"].tolist()])
    with noting(run, path) as path, atomic_write(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
