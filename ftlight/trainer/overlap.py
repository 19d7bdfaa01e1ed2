"""Rows that a run is measured on and was trained on too: they say nothing of new data."""

from __future__ import annotations

import logging

import numpy as np
import torch

from ftlight.data.module import DataModule
from ftlight.data.near import REPEATS
from ftlight.metrics.collected import select
from ftlight.run import outcomes
from ftlight.run.state import RunState
from ftlight.task import SPLIT, Task
from ftlight.utils.atomic import read_json
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)


def find(task: Task, data: DataModule, run: RunState, stage: str) -> None:
    """Counts the rows of an evaluation with a twin in train, and measures the others alone.

    A twin is the same row, or nearly (:mod:`ftlight.data.near`). Both are noted in the task's
    evidence; nothing is if the data are not audited, if the class has no keys of its rows, or if
    train is not what it was, which is said in a line.

    Args:
        task: the task, with its evaluation.
        data: the data module; it reads train if it has not yet.
        run: the run whose weights were measured.
        stage: val or test.
    """
    result, split = task.evidence[stage], SPLIT.get(stage, stage)
    assert result.numbers is not None
    assert result.outputs is not None
    twins = _noted(data, run) if stage == "test" and data.check != "off" else None
    twins = _twins(data, run, split) if twins is None else twins
    if twins is None:
        return
    numbers = result.numbers.tolist()
    of_rows = twins[numbers]
    has_twin = of_rows >= REPEATS
    new = np.flatnonzero(~has_twin).tolist()
    unseen = None
    if 0 < len(new) < len(numbers):
        targets = None if result.targets is None else select(result.targets, new)
        rows = data.rows(split, [numbers[i] for i in new])
        unseen = task.compute_metrics(select(result.outputs, new), targets, rows)
    task.evidence[stage] = result._replace(
        twins=torch.from_numpy(of_rows), in_train=int(has_twin.sum()), unseen=unseen
    )


def _noted(data: DataModule, run: RunState) -> np.ndarray | None:
    """What the test of a run noted of these rows: train may be gone since, or changed."""
    path = run.home / "outcomes-test.npz"
    if not path.is_file():  # as in a fit: keys of all rows would be made for nothing
        return None
    keys = data.duplicate_keys(data.load_split("test"))
    return None if keys is None else outcomes.twins(path, keys)


def _twins(data: DataModule, run: RunState, split: str) -> np.ndarray | None:
    """How like the nearest row that was trained on each row is; None if that cannot be told."""
    name = data.files["train"]
    if name is None or data.check == "off":
        return None
    try:
        twins = data.audited.twins.get(split)
    except UserError as error:
        log.info("rows that were trained on are not looked for: %s", error)
        return None
    then = read_json(run.home / "run.json").get("data_sha256", {}).get("train")
    if then is not None and then != data.digests.get("train"):
        log.info("rows that were trained on are not looked for: %s has changed since", name)
        return None
    return twins
