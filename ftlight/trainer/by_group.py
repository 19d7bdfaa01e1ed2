"""The scores of a test by group of rows: data.groups names the columns that tell them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from ftlight.data.module import DataModule
from ftlight.metrics import groups as metrics
from ftlight.metrics.collected import select
from ftlight.metrics.statistics import holm
from ftlight.task import Task
from ftlight.utils.errors import UserError, join_limited
from ftlight.utils.format import number

log = logging.getLogger(__name__)
ALARM = 0.05  # p-value, after Holm's correction


def find(task: Task, data: DataModule) -> None:
    """Adds to the evidence of a test its score by group; one line if the groups are not known.

    Args:
        task: the task, with its evaluation.
        data: the data module.
    """
    result = task.evidence["test"]
    if not data.group_columns or result.numbers is None or result.outputs is None:
        return
    try:
        columns = data.group_values("test")
    except UserError as error:
        log.info("no scores by group (data.groups): %s", error)
        return
    numbers = result.numbers.tolist()
    of_rows = {column: [values[i] for i in numbers] for column, values in columns.items()}
    found = {column: _scores(task, data, groups) for column, groups in of_rows.items()}
    _add_p_values(task, of_rows, found)
    lines = [_line(task, column, facts) for column, facts in found.items()]
    task.evidence["test"] = result._replace(
        facts={**result.facts, "groups": found},
        shown=[*result.shown, ("groups", "\n".join(lines))],
    )


def _scores(task: Task, data: DataModule, groups: Sequence[str]) -> dict[str, Any]:
    """Score, interval and rows of each group of a column with at least 30 rows, and a summary."""
    result, main = task.evidence["test"], task.primary_metric
    assert result.numbers is not None
    assert result.outputs is not None
    numbers = result.numbers.tolist()
    by_group: dict[str, dict[str, Any]] = {}
    names = metrics.large(groups)
    for name in names:
        inside = [i for i, group in enumerate(groups) if group == name]
        targets = None if result.targets is None else select(result.targets, inside)
        rows = data.rows("test", [numbers[i] for i in inside])
        own = task.compute_metrics(select(result.outputs, inside), targets, rows)
        low, high = own.intervals.get(main, (None, None))
        by_group[name] = {main: own.values[main], "low": low, "high": high, "rows": len(inside)}
    scores = {name: facts[main] for name, facts in by_group.items()}
    small = [group for group in groups if group not in by_group]
    left_out = {"groups": len(set(small) - {""}), "rows": len(small)}
    found = metrics.summary(scores)
    if found:
        worst = found["group_max" if task.mode == "min" else "group_min"]
        found = {"worst": next(n for n, score in scores.items() if score == worst), **found}
    return {
        "metric": main,
        "by_group": by_group,
        **found,
        "left_out": left_out,
    }


def _add_p_values(
    task: Task, of_rows: dict[str, list[str]], found: dict[str, dict[str, Any]]
) -> None:
    """Adds p-values of each group against the rest, adjusted for the number of all groups."""
    outcomes = task.row_outcomes("test")
    if not outcomes:
        return
    scores = np.asarray(outcomes["scores"])
    tests = {
        (column, name): p
        for column, groups in of_rows.items()
        for name, p in metrics.p_values(groups, scores, list(found[column]["by_group"])).items()
    }
    for (column, name), p in zip(tests, holm(list(tests.values())), strict=True):
        found[column]["by_group"][name]["p"] = p


def _line(task: Task, column: str, facts: dict[str, Any]) -> str:
    """What the screen says of a column: worst and best group, and which differ from the rest."""
    if "difference" not in facts:
        return f"{column}: fewer than two groups have {metrics.LEAST} rows"
    main, groups = facts["metric"], facts["by_group"]
    worst, end = facts["worst"], facts["group_min" if task.mode == "min" else "group_max"]
    best = next(name for name, group in groups.items() if group[main] == end)
    low, high = groups[worst]["low"], groups[worst]["high"]
    interval = "" if low is None else f", 95 % interval {number(low)} to {number(high)}"
    text = (
        f"{column}: {main} {number(groups[worst][main])} ({worst}, {groups[worst]['rows']:,} rows"
        f"{interval}) to {number(groups[best][main])} ({best}, {groups[best]['rows']:,} rows);"
        f" difference {number(facts['difference'])}, ratio {number(facts['ratio'])}"
    )
    unlike = {name: group["p"] for name, group in groups.items() if group.get("p", 1) < ALARM}
    shown = [f"{name} (p {unlike[name]:.1g})" for name in sorted(unlike, key=unlike.__getitem__)]
    says = f"unlike the rest: {join_limited(shown, 3)}" if shown else "no more than chance gives"
    return f"{text}; {says}"
