"""How sure a model is of each row and whether it is right, and what validation makes of that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from ftlight.metrics.calibration import (
    Z_ONE_SIDED,
    calibration_error,
    calibration_floor,
    conformal_quantile,
    fit_temperature,
    selective_threshold,
    true_class_scores,
)
from ftlight.metrics.statistics import wilson
from ftlight.utils.format import number

LEAST = 100  # rows to fit a temperature on: its standard error is about 0.15 with them
GOALS = (0.9, 0.95, 0.98, 0.99)
GOAL, COVERAGE = 0.98, 0.95  # those that the screen tells of
ROUNDING = 1e-6  # a probability depends on the batch by as much
NONE = torch.zeros(0)


class Sureness(NamedTuple):
    """How sure a model is of each row, and whether it is right.

    Attributes:
        confidence: score of each row's answer ``[rows]``; empty if answers are not right or wrong.
        right: whether the whole answer is right ``bool [rows]``; empty with the other.
        misfits: how badly each row fits its truth ``[rows]``, for sets and ranges; empty if the
            task has none.
        parts: confidence and correctness of what the calibration error is a mean over: rows, each
            label of each row, or words.
        unit: what is answered, in plural: rows, or the spans in them, which then stand for rows.
    """

    confidence: Tensor = NONE
    right: Tensor = NONE
    misfits: Tensor = NONE
    parts: tuple[Tensor, Tensor] = (NONE, NONE)
    unit: str = "rows"

    @property
    def error(self) -> float | None:
        """The calibration error; None if there are no probabilities."""
        return calibration_error(*self.parts) if len(self.parts[0]) else None

    @property
    def floor(self) -> float | None:
        """The calibration error that chance alone gives; None if there are no probabilities."""
        return calibration_floor(self.parts[0]) if len(self.parts[0]) else None


def of_classes(probabilities: Tensor, targets: Tensor) -> Sureness:
    """How sure a classification with one label per row is.

    Args:
        probabilities: ``[rows, classes]``.
        targets: class of each row ``[rows]``.
    """
    confidence, predicted = probabilities.max(1)
    right = predicted == targets
    return Sureness(
        confidence, right, true_class_scores(probabilities, targets), (confidence, right)
    )


def of_labels(probabilities: Tensor, targets: Tensor) -> Sureness:
    """How sure a classification with several labels per row is: as sure as of its least sure one.

    Args:
        probabilities: ``[rows, labels]``; those of 0.5 or more are predicted.
        targets: 0 or 1 ``[rows, labels]``.
    """
    predicted = probabilities >= 0.5
    confidence = torch.where(predicted, probabilities, 1 - probabilities)
    right = predicted == targets.bool()
    return Sureness(confidence.amin(1), right.all(1), parts=(confidence.flatten(), right.flatten()))


def logits_of(probabilities: Tensor, several: bool) -> Tensor:
    """Logits that give probabilities, ``double``, up to a constant of each row by softmax.

    Args:
        probabilities: ``[rows, classes]``.
        several: whether they are of several labels, by sigmoid.
    """
    least = torch.finfo(probabilities.dtype).tiny
    if not several:
        return probabilities.clamp(min=least).double().log()
    most = 1 - torch.finfo(probabilities.dtype).eps / 2
    return probabilities.clamp(least, most).double().logit()


def at_temperature(probabilities: Tensor, temperature: float, several: bool) -> Tensor:
    """Probabilities as they would be if the logits were divided by a temperature.

    Args:
        probabilities: ``[rows, classes]``.
        temperature: the temperature.
        several: whether they are of several labels, by sigmoid.
    """
    if temperature == 1.0:
        return probabilities
    logits = logits_of(probabilities, several) / temperature
    return (logits.sigmoid() if several else logits.softmax(1)).to(probabilities.dtype)


def temperature_of(probabilities: Tensor, targets: Tensor) -> float:
    """The temperature of least loss.

    Args:
        probabilities: ``[rows, classes]``.
        targets: as :func:`ftlight.metrics.calibration.fit_temperature` takes them.
    """
    return fit_temperature(logits_of(probabilities, targets.ndim == 2), targets)


class Calibration(NamedTuple):
    """What validation says of the probabilities, or the numbers, that weights give.

    Attributes:
        temperature: what logits are divided by; 1.0 if there are fewer than 100 rows, None if the
            task fits none.
        rows: validation rows that it was fitted on.
        apart: whether other rows chose the epoch.
        error_before: calibration error of these rows with a temperature of 1; None if undefined.
        error: the same with the temperature.
        floor: the calibration error that chance alone gives.
        confidence: as :class:`Sureness` has it, and so the rest, with the temperature.
        in_train: validation rows that do not count, since they are in train, the same or nearly.
    """

    temperature: float | None
    rows: int
    apart: bool
    error_before: float | None
    error: float | None
    floor: float | None
    confidence: Tensor
    right: Tensor
    misfits: Tensor
    unit: str = "rows"
    in_train: int = 0

    @property
    def heat(self) -> float:
        """What logits are divided by."""
        return self.temperature or 1.0

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """The calibration that a checkpoint holds as a mapping."""
        return cls(**{name: {"in_train": 0, **state}[name] for name in cls._fields})

    def threshold(self, goal: float) -> float | None:
        """Least score to answer, so that a share of the answers is right; None if out of reach.

        Args:
            goal: that share, between 0 and 1.
        """
        if not len(self.confidence):
            return None
        return selective_threshold(self.confidence, self.right, goal)

    def most(self) -> float:
        """The highest goal within reach: the greatest lower bound that any threshold has."""
        if not len(self.confidence):
            return 0.0
        tried, inverse = torch.unique(self.confidence, return_inverse=True)
        counts = torch.bincount(inverse, minlength=len(tried)).flip(0).cumsum(0).tolist()
        hits = torch.bincount(inverse, self.right.double(), len(tried)).flip(0).cumsum(0).tolist()
        pairs = zip(hits, counts, strict=True)
        return max(wilson(hit / count, count, Z_ONE_SIDED)[0] for hit, count in pairs)

    def quantile(self, coverage: float) -> float:
        """The misfit that a share of new rows keep to; inf if the rows are too few.

        Args:
            coverage: that share, between 0 and 1.
        """
        return conformal_quantile(self.misfits, coverage) if len(self.misfits) else math.inf

    def summary(self) -> dict[str, Any]:
        """What calibration.json says: all but the rows, with thresholds for some goals."""
        names = [n for n in self._fields if n not in ("confidence", "right", "misfits")]
        found = {name: getattr(self, name) for name in names}
        if len(self.confidence):
            found["at_least"] = {str(goal): self._answered(goal) for goal in GOALS}
        if len(self.misfits):
            quantiles = {str(goal): self.quantile(goal) for goal in GOALS}
            found["coverage"] = {g: q if math.isfinite(q) else None for g, q in quantiles.items()}
        return found

    def _answered(self, goal: float) -> dict[str, float] | None:
        """Threshold of a goal, and the share of these rows that are answered."""
        threshold = self.threshold(goal)
        if threshold is None:
            return None
        return {"threshold": threshold, "answered": share_of(self.confidence, threshold)}

    def line(self, of: Sureness | None = None) -> str:
        """What the screen says of it.

        Args:
            of: how sure the model is of other rows, with the temperature: those of a test. Default:
                of the rows that it was fitted on.
        """
        if not len(self.confidence):
            return self._range(of)
        error, floor = (self.error, self.floor) if of is None else (of.error, of.floor)
        ece = "" if error is None else f"ECE {number(error)} (chance {number(floor)}), "
        threshold = self.threshold(GOAL)
        if threshold is None:
            count = f"{len(self.confidence):,} {self.unit}{self.left_out}"
            answered = f"{GOAL:.0%} right is not reachable with {count}"
        else:
            share = share_of(self.confidence if of is None else of.confidence, threshold)
            answered = f"{share:.0%} of {self.unit} answered at {GOAL:.0%}"
        return f"{ece}{self._fitted()}; {answered}".replace("%", " %")

    def _fitted(self) -> str:
        """The temperature, and which rows gave it."""
        if self.temperature is None:
            return f"no temperature, by {self._where}"
        if self.rows < LEAST:
            return f"temperature 1: {self.rows:,} validation rows are too few to fit it"
        return f"temperature {self.temperature:.3g} fitted on {self._where}"

    @property
    def left_out(self) -> str:
        """Why some validation rows do not count, in words; empty if all do."""
        return f" ({self.in_train:,} more are in train)" if self.in_train else ""

    @property
    def _where(self) -> str:
        """The rows it was fitted on."""
        rows = f"{self.rows:,}"
        if self.in_train:
            return f"{rows} validation rows, without {self.in_train:,} that are in train"
        return f"{rows} validation rows" if self.apart else f"the {rows} rows that chose the epoch"

    def _range(self, of: Sureness | None) -> str:
        half = self.quantile(COVERAGE)
        if not math.isfinite(half):
            return ""
        held = "" if of is None else f", {(of.misfits <= half).double().mean():.0%} of these"
        text = f"± {number(half)} holds {COVERAGE:.0%} of values{held}, by {self._where}"
        return text.replace("%", " %")


def share_of(confidence: Tensor, threshold: float) -> float:
    """Share of rows that are answered with a threshold; 0 if there are none."""
    if not len(confidence):
        return 0.0
    return (confidence >= threshold - ROUNDING).double().mean().item()
