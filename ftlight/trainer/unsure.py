"""Answers that keep a promise: rows too unsure to answer, sets and ranges that hold the truth."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch

from ftlight.metrics.calibration import prediction_sets, rows_needed
from ftlight.metrics.sureness import ROUNDING, Calibration
from ftlight.task import Task
from ftlight.utils.errors import UserError

MORE = "for more rows raise data.validation_split, or give data.validation: FILE, and fit again"


class Promise(NamedTuple):
    """What predictions are to keep.

    Attributes:
        threshold: least score of a row that is answered; None if all are.
        quantile: the most misfit of what belongs to a set or range; None if there are none.
    """

    threshold: float | None = None
    quantile: float | None = None


def settle(
    task: Task,
    calibration: Calibration | None,
    at_least: float | None,
    coverage: float | None,
    dashes: str = "",
) -> Promise:
    """What it takes to keep a share of answers right, and sets or ranges true.

    Args:
        task: the task.
        calibration: that of its weights; None if they have none.
        at_least: share of the answered rows that are to be right, between 0 and 1; None for all.
        coverage: share of rows whose set or range is to hold the truth; None for no sets.
        dashes: what stands before the name of an option in errors.

    Raises:
        UserError: it is not defined for the task, the weights have no calibration, or the
            validation rows are too few or too often wrong.
    """
    threshold, quantile = None, None
    if at_least is not None:
        place = f"{dashes}at_least {at_least:g}"
        known = _known(task, calibration, "at_least", at_least, place)
        threshold = known.threshold(at_least)
        if threshold is None:
            most = math.floor(known.most() * 1000) / 1000
            count, needed = len(known.confidence), rows_needed(at_least)
            why = "too many of the surest are wrong"
            if count < needed:
                why = f"it takes {needed:,} if all were right"
            raise UserError(
                f"{place}: not reachable with {count:,} validation {known.unit}{known.left_out};"
                f" they bear up to {most:g}, {why}; {MORE}"
            )
    if coverage is not None:
        place = f"{dashes}coverage {coverage:g}"
        known = _known(task, calibration, "coverage", coverage, place)
        quantile = known.quantile(coverage)
        if not math.isfinite(quantile):
            needed = math.ceil(coverage / (1 - coverage) - 1e-9)
            raise UserError(
                f"{place}: not reachable with {known.rows:,} validation rows{known.left_out};"
                f" it takes {needed:,}; {MORE}"
            )
    return Promise(threshold, quantile)


def _known(
    task: Task, calibration: Calibration | None, option: str, value: float, place: str
) -> Calibration:
    """The calibration, if it can tell what an option asks.

    Raises:
        UserError: it cannot.
    """
    if not 0 < value < 1:
        raise UserError(f"{place}: expected a share between 0 and 1, such as 0.95")
    refusal = task.refusal(option)
    if refusal:
        raise UserError(f"{place}: {refusal}")
    if calibration is None:
        raise UserError(
            f"{place}: these weights have no calibration; only the best ones of a run with"
            " validation rows that are not in train have one (ftlight 0.2 or later): fit again,"
            " or leave it out"
        )
    return calibration


def mark(answers: list[dict[str, Any]], promise: Promise, empty: Iterable[int] = ()) -> None:
    """Marks the rows that are too unsure to answer, and adds sets or ranges.

    Args:
        answers: predictions of rows, which are changed: ``unsure``, and a ``prediction`` of None
            if it is true; ``unsure`` of each item of a list; ``set``, labels from the most
            probable on; ``low`` and ``high``.
        promise: what to keep.
        empty: numbers of the rows that hold nothing to read; none of them is sure.
    """
    threshold, quantile = promise
    empty = set(empty)
    for number, answer in enumerate(answers):
        if threshold is not None:
            for item in items([answer]):
                item["unsure"] = number in empty or item["score"] < threshold - ROUNDING
        if quantile is not None and "probabilities" in answer:
            answer["set"] = _set(answer["probabilities"], quantile)
        elif quantile is not None:
            middle = answer["prediction"]
            answer |= {"low": middle - quantile, "high": middle + quantile}
        if answer.get("unsure"):
            answer["prediction"] = None


def items(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is answered: rows, or the spans that are found in them."""
    found: list[dict[str, Any]] = []
    for answer in answers:
        spans = answer["prediction"]
        found += spans if isinstance(spans, list) else [answer]
    return found


def _set(by_label: dict[str, float], quantile: float) -> list[str]:
    """Labels that may be true, from the most probable on."""
    labels = sorted(by_label, key=by_label.__getitem__, reverse=True)
    shares = torch.tensor([[by_label[label] for label in labels]])
    held = prediction_sets(shares, quantile + ROUNDING)[0].tolist()
    return [label for label, is_held in zip(labels, held, strict=True) if is_held]
