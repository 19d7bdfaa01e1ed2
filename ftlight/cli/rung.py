"""A model on the ladder of ``auto``, as the validation rows measured it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ftlight.evidence import comparing
from ftlight.metrics.seeds import spread
from ftlight.report.reading import logged
from ftlight.run import folder, outcomes, records
from ftlight.utils.json_file import ANY, read


class Rung(NamedTuple):
    """A model on the ladder, measured on the validation rows.

    Attributes:
        name: what it is.
        run: folder of its run, below that of the ladder; empty for a cheap model.
        options: what it changes of the ladder's config.
        score: mean score of the rows, with its interval.
        low: its lower end.
        high: its upper end.
        score_name: what the score is.
        metrics: metrics of validation by name.
        scores: how good each row is; None if that is not known.
        seconds: what it took.
        verdict: what is said of the run, in a word; empty for a cheap model.
        ended_by: what ended its training.
        rows: rows of train that it learned.
    """

    name: str
    run: str
    options: Mapping[str, str]
    score: float
    low: float
    high: float
    score_name: str
    metrics: Mapping[str, float]
    scores: np.ndarray | None
    seconds: float
    verdict: str = ""
    ended_by: str = ""
    rows: int = 0


def measured(run: Path, name: str, options: Mapping[str, str], seconds: float) -> Rung:
    """A run as validation measured it.

    Raises:
        UserError: a file of it is damaged.
    """
    place = folder.find(str(run))
    facts = records.facts(place)
    learning: Mapping[str, Any] = facts.get("learning", {})
    kept = outcomes.validation(place)
    metrics = _metrics(run, learning.get("kept_step"))
    verdict = records.of(place / "verdict.json", {}).get("kind", "")
    if kept is not None and len(kept.scores):
        found = spread(kept.scores[None])
        score = (found.mean, found.low, found.high, comparing.metric_of(kept.scores, metrics))
    else:
        monitor, best = next(iter(facts.get("best", {}).items()), ("val/loss", float("nan")))
        sign = -1 if learning.get("mode") == "min" else 1
        score = (sign * best, sign * best, sign * best, monitor)
    scores = None if kept is None else kept.scores
    rows = learning.get("rows", {}).get("train", 0)
    ended = learning.get("ended_by", "")
    return Rung(name, run.name, options, *score, metrics, scores, seconds, verdict, ended, rows)


def _metrics(run: Path, step: int | None) -> dict[str, float]:
    """Metrics of the validation rows by name, of the weights that are kept; pooled over folds."""
    if (run / folder.FOLDS).is_file():
        found = read(run / folder.FOLDS, {"metrics": {ANY: {"value": float}}})
        return {name: float(about["value"]) for name, about in found["metrics"].items()}
    metrics: dict[str, float] = {}
    for key, values in logged(run / "metrics.csv").items():
        if key.startswith("val/") and values:
            by_step: dict[Any, float] = dict(values)
            metrics[key.removeprefix("val/")] = by_step.get(step, values[-1][1])
    return metrics
