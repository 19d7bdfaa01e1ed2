"""The scores of an evaluation, as rows of a table for the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftlight.metrics.evaluation import EvaluationResult
from ftlight.run import console as screen
from ftlight.task import Task
from ftlight.utils import format as fmt


def show(task: Task, stage: str) -> list[tuple[str, str]]:
    """Rows of a table for an evaluation: score, further metrics, frequent confusions."""
    result = task.evidence[stage]
    main = task.primary_metric
    others = [f"{name} {_value(result, name, main)}" for name in result.values if name != main]
    rows = [(f"{stage} {main}", _value(result, main, main)), ("also", ", ".join(others))]
    if verdict := _verdict(result):
        rows.append(("chance", verdict))
    if result.confusion is not None:
        worst = screen.confusions(result.confusion, task.labels)
        if worst:
            rows.append(("confused", "; ".join(worst)))
    if worst_classes := _worst(result):
        rows.append(("worst", worst_classes))
    if result.in_train:
        rows.append(("in train", _seen(result, main)))
    return [*rows, *result.shown, *(("", note) for note in result.notes)]


def _verdict(result: EvaluationResult) -> str:
    """Whether a classification is better than always one label; empty for other evaluations."""
    supports = {name: facts["support"] for name, facts in result.classes.items()}
    if result.confusion is None or "accuracy" not in result.intervals or not supports:
        return ""
    label = max(supports, key=supports.__getitem__)
    return against_chance(result.intervals["accuracy"], label, supports[label], result.rows)


def against_chance(interval: tuple[float, float], label: str, count: float, rows: int) -> str:
    """What an accuracy is worth, in a plain sentence.

    Args:
        interval: its 95 % interval.
        label: the most frequent label.
        count: rows that have it.
        rows: all rows.

    >>> against_chance((0.7, 0.9), "late", 30, 60)
    "better: always saying 'late' is right in 50 % of these rows"
    >>> against_chance((0.4, 0.6), "late", 30, 60)
    "60 rows do not show that it is better than always saying 'late', right in 50 % of them"
    """
    share = f"{count / rows:.0%}".replace("%", " %")
    if interval[0] > count / rows:
        return f"better: always saying {label!r} is right in {share} of these rows"
    if interval[1] < count / rows:
        return f"worse than always saying {label!r}, which is right in {share} of these rows"
    return (
        f"{rows:,} rows do not show that it is better than always saying"
        f" {label!r}, right in {share} of them"
    )


def _worst(result: EvaluationResult, most: int = 5) -> str:
    """The classes of the lowest F1 below 1, with what it is made of; empty if there is none."""
    known = [(name, c) for name, c in result.classes.items() if c["support"] and c["f1"] < 1]
    lines = []
    for name, c in sorted(known, key=lambda item: item[1]["f1"])[:most]:
        parts = (
            f"precision {c['precision']:.2f}, recall {c['recall']:.2f}, support {c['support']:,}"
        )
        lines.append(f"{name} F1 {c['f1']:.2f} ({parts})")
    return "; ".join(lines)


def _value(result: EvaluationResult, name: str, main: str) -> str:
    """A metric, with its interval if it has one, and the number of rows if it is the score."""
    details = [f"{fact} {word}" for fact, word in result.about.get(name, {}).items()]
    if name in result.intervals:
        low, high = result.intervals[name]
        details.append(f"95 % interval {fmt.number(low)} to {fmt.number(high)}")
    if name == main:
        details.append(f"{result.rows:,} rows")
    number = fmt.number(result.values[name])
    return f"{number} ({', '.join(details)})" if details else number


def _seen(result: EvaluationResult, main: str) -> str:
    """What rows that were trained on do to a score."""
    if result.unseen is None:
        return f"all {result.rows:,} rows are in train too: this is no score on new rows"
    count = f"{result.in_train:,} of {result.rows:,} rows, the same or nearly"
    return f"{count}; of the others {main} {_value(result.unseen, main, main)}"


def interpolated(mixed: Mapping[str, Any], task: Task) -> list[tuple[str, str]]:
    """Rows of a table for a mix of pre-trained and fine-tuned weights."""
    share = mixed["share"]
    rows = [("weights", f"{share:g} fine-tuned, {1 - share:g} pre-trained")]
    scores = mixed.get("validation", {})
    if scores:
        rows.append((task.monitor, ", ".join(f"{k}: {fmt.number(v)}" for k, v in scores.items())))
    return rows
