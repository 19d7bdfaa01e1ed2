"""Rows that a run is measured on and was trained on too: they say nothing of new data."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ftlight.data.module import DataModule
from ftlight.metrics.collected import Rows
from ftlight.run.state import RunState
from ftlight.task import SPLIT, Task
from ftlight.utils.atomic import read_json
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)


def find(task: Task, data: DataModule, run: RunState, stage: str) -> None:
    """Counts the rows of an evaluation that are in train too, and measures the others alone.

    Both are noted in the task's evidence. Nothing is if the class has no keys of its rows, or if
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
    keys = data.duplicate_keys(data.load_split(split))
    known = _train_keys(data, run) if keys is not None else None
    if keys is None or not known:
        return
    numbers = result.numbers.tolist()
    new = [i for i, number in enumerate(numbers) if keys[number] not in known]
    unseen = None
    if 0 < len(new) < len(numbers):
        targets = None if result.targets is None else _select(result.targets, new)
        rows = data.rows(split, [numbers[i] for i in new])
        unseen = task.compute_metrics(_select(result.outputs, new), targets, rows)
    seen = len(numbers) - len(new)
    task.evidence[stage] = result._replace(in_train=seen, unseen=unseen)


def _train_keys(data: DataModule, run: RunState) -> set[str] | None:
    """Keys of the rows that were trained on; None if they cannot be read as they were."""
    name = data.files["train"]
    if name is None:
        return None
    try:
        keys = data.duplicate_keys(data.load_split("train"))
    except UserError as error:
        log.info("rows that were trained on are not looked for: %s", error)
        return None
    then = read_json(run.home / "run.json").get("data_sha256", {}).get("train")
    if then is not None and then != data.digests.get("train"):
        log.info("rows that were trained on are not looked for: %s has changed since", name)
        return None
    return None if keys is None else set(keys) - {""}


def _select(values: Rows, rows: Sequence[int]) -> Rows:
    return [values[i] for i in rows] if isinstance(values, list) else values[list(rows)]
