"""What W&B gets at the end of a run: read from the run's files, computed nowhere anew."""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.run import folder, records
from ftlight.run.tracking import WandB, clean
from ftlight.utils.atomic import read_json

MOST = 1000  # rows of a table
OURS = ("why", "line", "prediction", "score")  # columns of wrong.csv that are not the user's
FINDING = ("level", "kind", "split", "rows")  # of a finding, what quotes no data
QUOTES = ("message", "example", "option")
CELLS = ("Actual", "Predicted", "nPredictions")  # as W&B's chart of a confusion matrix has them
CHART = "wandb/confusion_matrix/v1"


class Found(NamedTuple):
    """What a run has found.

    Attributes:
        home: folder of the run.
        confusions: for val and test the matrix ``[actual, predicted]`` and the names of classes.
        page: the page about the run, as HTML; empty if there is none.
        log_text: whether texts of the data may be sent.
    """

    home: Path
    confusions: Mapping[str, tuple[Sequence[Sequence[int]], Sequence[str]]]
    page: str = ""
    log_text: bool = False


class Table(NamedTuple):
    """A table: names of its columns, and its rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def send(tracker: WandB, found: Found) -> None:
    """Sends summary, tables, page and model, as one step after the last metric.

    Args:
        tracker: the run's logger.
        found: what the run has found.
    """
    import wandb

    tracker.catch_up()
    run = tracker.experiment
    shown: dict[str, Any] = {}
    for name, table in tables(found).items():
        shown[name] = wandb.Table(columns=list(table.columns), data=list(table.rows))
    for stage, (matrix, labels) in found.confusions.items():
        cells = wandb.Table(columns=list(CELLS), data=confusion(matrix, labels))
        fields = {name: name for name in CELLS}
        shown[f"{stage}/confusion"] = wandb.plot_table(CHART, cells, fields)
    if found.page:
        shown["report"] = wandb.Html(found.page, inject=False)
    if shown:
        run.log(shown, step=tracker.base + tracker.file.lines + 1)
    run.summary.update(summary(found.home))
    _keep_model(run, found.home)


def summary(home: Path) -> dict[str, Any]:
    """Best scores with their intervals, all numbers of the test, and the verdict.

    The score that chose the weights stands under its own name too, in place of the last one: a
    sweep reads it there.

    Args:
        home: folder of the run.
    """
    facts, verdict = records.facts(home), read_json(home / "verdict.json")
    values: dict[str, Any] = {}
    for name, score in facts.get("best", {}).items():
        values |= {name: score, f"best/{name}": score}
    for name, (low, high) in facts.get("intervals", {}).items():
        values |= {f"best/{name}_low": low, f"best/{name}_high": high}
    values["best/step"] = facts.get("learning", {}).get("kept_step")
    values |= {name: facts.get(name) for name in ("epochs", "steps", "weights", "memory")}
    values |= {f"cost/{name}": value for name, value in facts.get("cost", {}).items()}
    test = read_json(home / "test_metrics.json")
    values |= {name: v for name, v in test.items() if isinstance(v, int | float)}
    values |= {"verdict": verdict.get("sentence"), "verdict/kind": verdict.get("kind")}
    values["verdict/try"] = verdict.get("option") or None
    return clean({name: value for name, value in values.items() if value is not None})


def tables(found: Found) -> dict[str, Table]:
    """The tables of a run that are not empty, by name.

    Args:
        found: what the run has found.
    """
    home = found.home
    classes = read_json(home / "test_metrics.json").get("classes", {})
    stages = records.facts(home).get("learning", {}).get("stages", [])
    named = [{**stage, "train": ", ".join(stage["train"])} for stage in stages]
    made = {
        "schedule": of_mappings(named),
        "test/classes": of_mappings([{"class": name, **row} for name, row in classes.items()]),
        "test/wrong": wrong(home, found.log_text),
        "findings": findings(home, found.log_text),
    }
    return {name: table for name, table in made.items() if table.rows}


def of_mappings(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> Table:
    """A table of rows, which are fit to be sent then.

    Args:
        rows: the rows.
        columns: those to take. Default: those of the first row.

    >>> of_mappings([{"class": "late", "f1": 0.5}])
    Table(columns=['class', 'f1'], rows=[['late', 0.5]])
    """
    names = list(columns or (rows[0] if rows else ()))
    return Table(clean(names), [clean([row.get(name) for name in names]) for row in rows[:MOST]])


def findings(home: Path, log_text: bool) -> Table:
    """What an audit found of the data; with its words only if texts may be sent."""
    path = home / "findings.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return of_mappings([json.loads(line) for line in lines], FINDING + QUOTES * log_text)


def wrong(home: Path, log_text: bool) -> Table:
    """The rows of wrong.csv; without texts their labels, predictions and scores.

    Args:
        home: folder of the run.
        log_text: whether texts of the data may be sent.
    """
    path = home / "wrong.csv"
    if not path.is_file():
        return Table((), ())
    csv.field_size_limit(2**31 - 1)
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = list(itertools.islice(csv.DictReader(file), MOST))
    if log_text or not rows:
        return of_mappings(rows)
    labels = {"wrong", "doubtful", "worst", *records.labels(home).get("labels", [])}
    option = _options(home).get("label")
    own = (*OURS, option if isinstance(option, str) else "label")
    bare = [name for name in rows[0] if all(_is_bare(row[name], labels) for row in rows)]
    return of_mappings(rows, [name for name in bare if name in own])


def _options(home: Path) -> Mapping[str, Any]:
    """Options of a run's data module."""
    data = folder.read_config(home).get("data") or {}
    return data.get("init_args") or data


def _is_bare(cell: str | None, labels: set[str]) -> bool:
    """Whether a cell holds no text but a number or labels."""
    if cell in labels or not cell:
        return True
    try:
        float(cell)
    except ValueError:
        return all(part in labels for part in cell.split("|"))
    return True


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> list[list[Any]]:
    """The cells of a confusion matrix that are not empty.

    >>> confusion([[5, 1], [0, 4]], ["good", "bad"])
    [['good', 'good', 5], ['good', 'bad', 1], ['bad', 'bad', 4]]
    """
    return list(_cells(matrix, clean(list(labels))))


def _cells(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Iterator[list[Any]]:
    for name, row in zip(names, matrix, strict=True):
        for other, count in zip(names, row, strict=True):
            if count:
                yield [name, other, count]


def _keep_model(run: Any, home: Path) -> None:
    """Notes the best model as an artifact, with the data it comes from.

    It refers to the file of the weights, which is sent only with ``WANDB_LOG_MODEL``, the variable
    by which transformers' Trainer is told to.
    """
    import wandb

    facts, best = records.facts(home), home / "checkpoints" / "best.ckpt"
    digests = {name: digest for name, digest in facts.get("data_sha256", {}).items() if digest}
    if digests:
        first = next(iter(digests.values()))
        data = wandb.Artifact(f"data-{first[:12]}", "dataset", metadata={"sha256": digests})
        with data.new_file("sha256.json") as file:
            json.dump(digests, file)
        if not run.offline:  # W&B knows no use of data offline; the model has the digests
            run.use_artifact(data)
    if not best.exists():
        return
    about = {name: facts[name] for name in ("best", "backbone", "seed") if name in facts}
    about = clean({**about, "data_sha256": digests})
    model = wandb.Artifact(f"model-{run.id}", "model", metadata=about)
    if os.environ.get("WANDB_LOG_MODEL", "false").lower() in ("false", "0", ""):
        model.add_reference(best.resolve().as_uri(), name=best.name)
    elif best.is_dir():
        model.add_dir(str(best), name=best.name, policy="immutable")
    else:
        model.add_file(str(best), policy="immutable")
    for name in ("config.yaml", "labels.json"):
        model.add_file(str(home / name))
    run.log_artifact(model, aliases=["best"])
