"""What the files of a run say for the card of its export."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.data import findings
from ftlight.data.findings import Finding
from ftlight.run import folder as runs
from ftlight.run import records, shapes
from ftlight.task import Task

_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class Facts(NamedTuple):
    """What a card is made of; what a run lacks is empty.

    Attributes:
        task: name of the task.
        does: what the task does, in a sentence.
        labels: the labels.
        pipeline: what the Hub calls the task.
        run: run.json.
        data: options of the data module.
        score: name of the score that counts.
        kind: kind of the labels: single, multi, regression.
        scores: test_metrics.json, of the exported weights.
        findings: findings.jsonl.
        best: verdict.json, calibration.json and baselines.json by name, if the best weights are
            exported, whom these are about.
    """

    task: str
    does: str
    labels: Sequence[str]
    pipeline: str
    run: Mapping[str, Any]
    data: Mapping[str, Any]
    score: str
    kind: str
    scores: Mapping[str, Any]
    findings: Sequence[Finding]
    best: Mapping[str, Mapping[str, Any]]


def read(home: Path, task: Task, scores: Mapping[str, Any], best: bool) -> Facts:
    """Reads what a card tells of a run.

    Args:
        home: folder of the run.
        task: the task.
        scores: those of the exported weights; empty if they were not tested.
        best: whether these are the weights that the run kept.

    Raises:
        UserError: a file of the run is damaged.
    """
    data = runs.read_config(home).get("data") or {}
    about = {"verdict": shapes.VERDICT, "calibration": shapes.CALIBRATION}
    about["baselines"] = shapes.BASELINES
    found = {name: records.of(home / f"{name}.json", shape) for name, shape in about.items()}
    return Facts(
        type(task).__name__,
        (type(task).__doc__ or "").strip().partition("\n")[0],
        task.labels,
        task.pipeline_tag,
        records.facts(home),
        data.get("init_args") or {},
        task.primary_metric,
        str(records.labels(home).get("kind") or ""),
        scores,
        findings.read(home / "findings.jsonl"),
        found if best else {name: {} for name in found},
    )


def backbone(run: Mapping[str, Any]) -> str:
    """The backbone of a run: its id on the Hub, or the name of a folder without its place."""
    given = str(run.get("backbone") or "a model of its own")
    return given if hub_id(given) else Path(given).name


def hub_id(name: str) -> bool:
    """Whether a name may be that of a model or data set on the Hub, and is no folder here.

    >>> hub_id("google-bert/bert-base-uncased"), hub_id("/models/bert"), hub_id("../bert")
    (True, False, False)
    """
    return _ID.fullmatch(name) is not None and not Path(name).exists()


def place(source: Any) -> str:
    """The name of a file or folder of data without its place; that of a data set of the Hub whole.

    >>> place("/home/ann/tickets/train.csv"), place("hf:fancyzhx/ag_news"), place(None)
    ('train.csv', 'hf:fancyzhx/ag_news', '')
    """
    given = source if isinstance(source, str) else ""
    return given if given.startswith("hf:") else Path(given).name
