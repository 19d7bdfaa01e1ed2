"""The files of a test: its metrics, and a prediction for every row."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor

from ftlight.data.module import DataModule
from ftlight.data.sources import Source
from ftlight.run import folder as runs
from ftlight.run import outputs
from ftlight.run.predictions import write_predictions
from ftlight.run.state import RunState
from ftlight.task import EvaluationResult, Task
from ftlight.trainer import by_group, by_swap, calibrating, outcomes, overlap, wrong
from ftlight.trainer.parts import data_of, noting
from ftlight.utils.atomic import read_json, write_json
from ftlight.utils.paths import is_document

log = logging.getLogger(__name__)


def finish_test(trainer: L.Trainer, run: RunState, task: Task) -> None:
    """Looks closer at a test, and writes what it found; all processes must call this.

    Args:
        trainer: the trainer, in its test.
        run: the run whose weights were measured.
        task: the task, with its evaluation.
    """
    data = data_of(trainer)
    if data is not None:
        by_swap.find(trainer, task, data)
    if not trainer.is_global_zero:
        return
    if data is not None:
        overlap.find(task, data, run, "test")
        by_group.find(task, data)
    calibrating.measure(task, mixed=bool(run.wise) and trainer.ckpt_path is None)
    write_test(trainer, run, task)


def write_test(trainer: L.Trainer, run: RunState, task: Task) -> None:
    """Writes what a test found into the run's folder; only the first process calls this.

    If the run cannot be written they go where one stands; if that cannot either, results are only
    shown.

    Raises:
        WriteError: they cannot be written. In a fit that is noted for its end instead.
    """
    data, result = data_of(trainer), task.evidence["test"]
    mixed = run.wise if trainer.ckpt_path is None else {}
    home = outputs.home(run.home)
    if home != run.home:
        place = runs.short(run.home)
        if not outputs.is_writable(home):
            log.info("neither %s nor this folder can be written: results are only shown", place)
            return
        log.info("%s cannot be written: the files of the test are in %s", place, runs.short(home))
    stem = _stem(trainer, run, data, mixed, home)
    with noting(run, home / f"{stem}_metrics.json") as path:
        write_json(path, _metrics(result, mixed, task))
    found = task.row_outcomes("test")
    if found and result.twins is not None:
        found["twins"] = result.twins
    outcomes.write(run, home / f"outcomes-{stem}.npz", found, data, "test")
    if data is None or result.outputs is None or result.numbers is None:
        return
    rows = [data.usable(row) for row in data.rows("test", result.numbers.tolist())]
    answers = task.postprocess(result.outputs, rows)
    shown = _under_user_names(rows, data.column_names)
    whole = list(map(_joined, shown, data.beside("test", rows)))
    source = Source(str(data.files["test"] or data.files["train"]), encoding=data.encoding)
    dialect = source.dialect()
    with noting(run, home / f"{stem}_predictions.csv") as path:
        write_predictions(path, whole, answers, spread=False, dialect=dialect)
    if found:
        chosen = wrong.choose(answers, found["scores"].tolist(), not task.refusal("at_least"))
        with noting(run, home / ("wrong.csv" if stem == "test" else f"{stem}_wrong.csv")) as path:
            marked = [{"why": why, **whole[i]} for i, why in chosen]
            write_predictions(path, marked, [answers[i] for i, _ in chosen], False, None, dialect)


def _stem(
    trainer: L.Trainer,
    run: RunState,
    data: DataModule | None,
    mixed: Mapping[str, Any],
    home: Path,
) -> str:
    """How the files' names begin: with the test data and the checkpoint if not those of the run."""
    parts = ["test"]
    if mixed:
        parts.append("wise")
    digests = read_json(run.home / "run.json").get("data_sha256", {})
    if data is not None and digests.get("test") != data.digests.get("test"):
        source = str(data.files["test"] or data.files["train"])
        name = outputs.free(home, Path(source).name, source, "test-", "_metrics.json")
        outputs.claim(home, name, source)
        parts.append(name)
    checkpoint = mixed.get("checkpoint") or Path(str(trainer.ckpt_path or "best")).stem
    if checkpoint != "best":
        parts.append(checkpoint)
    return "-".join(parts)


def _metrics(result: EvaluationResult, mixed: Mapping[str, Any], task: Task) -> dict[str, Any]:
    main = task.primary_metric
    metrics: dict[str, Any] = {f"test/{name}": value for name, value in result.values.items()}
    for name, (low, high) in result.intervals.items():
        metrics |= {f"test/{name}_low": low, f"test/{name}_high": high}
    for name, facts in result.about.items():
        metrics |= {f"test/{name}_{fact}": value for fact, value in facts.items()}
    metrics["test/rows"] = result.rows
    if result.in_train is not None:
        metrics["test/rows_in_train"] = result.in_train
    if result.unseen is not None:
        name = f"test/{main}_unseen"
        metrics[name] = result.unseen.values[main]
        if main in result.unseen.intervals:
            metrics[f"{name}_low"], metrics[f"{name}_high"] = result.unseen.intervals[main]
    if result.classes:
        metrics["classes"] = dict(result.classes)
    if result.confusion is not None:
        metrics["confusion"] = _confusion(result.confusion, task.labels)
    metrics |= result.facts
    return {**metrics, "wise": dict(mixed)} if mixed else metrics


def _confusion(matrix: Tensor, labels: Sequence[str]) -> list[tuple[str, str, int]]:
    """Label, prediction and rows of each cell that is not empty, of ``[actual, predicted]``.

    >>> import torch
    >>> _confusion(torch.tensor([[5, 1], [0, 4]]), ["good", "bad"])
    [('good', 'good', 5), ('good', 'bad', 1), ('bad', 'bad', 4)]
    """
    cells = matrix.nonzero().tolist()
    return [(labels[i], labels[j], int(matrix[i, j])) for i, j in cells]


def _joined(row: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its other columns; one that is named as what is written gets an underscore.

    >>> _joined({"text": "good", "line": 2}, {"text": "good ", "id": 7, "line": "b"})
    {'text': 'good', 'line': 2, 'id': 7, 'line_': 'b'}
    """
    named = {f"{n}_" if n in ("line", "why") else n: value for n, value in others.items()}
    return {**row, **{name: value for name, value in named.items() if name not in row}}


def _under_user_names(
    rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Rows without their empty and internal columns, the others under the user's names.

    A line that is a path is the file of a document.

    >>> _under_user_names([{"text": "good", "pair": "", "line": 2}], {"text": "message"})
    [{'message': 'good', 'line': 2}]
    """
    columns = [c for c in rows[0] if not c.startswith("__") and any(row[c] for row in rows)]
    if "line" in rows[0] and is_document(rows[0]["line"]):
        names = {**names, "line": "file"}
    taken = {names[c] for c in columns if c in names}
    columns = [c for c in columns if c in names or c not in taken]
    return [{names.get(c, c): row[c] for c in columns} for row in rows]
