"""Did fine-tuning pay? Cheap models beside a run on the same rows, and a verdict in a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ftlight.evidence.baselines import Measured
from ftlight.metrics.seeds import Difference, Spread, difference, spread
from ftlight.metrics.statistics import holm

SURE = 0.05


class Beside(NamedTuple):
    """A model beside the run.

    Attributes:
        model: the model, as measured.
        score: the mean score of its rows, with its interval.
        above: what the run is better by, paired; None of the run itself.
        p: the p-value of that, adjusted for the models that learned as many rows (Holm).
        cheap: whether it is one of the cheap models.
    """

    model: Measured
    score: Spread
    above: Difference | None
    p: float | None
    cheap: bool

    @property
    def is_worse(self) -> bool:
        """Whether the run is better, by more than chance."""
        return self.p is not None and self.p < SURE and self.above is not None and self.gain > 0

    @property
    def is_better(self) -> bool:
        """Whether the run is worse, by more than chance."""
        return self.p is not None and self.p < SURE and self.gain < 0

    @property
    def gain(self) -> float:
        """What the run is better by."""
        return 0.0 if self.above is None else self.above.gain


def compare(run: Measured, cheap: Sequence[Measured], trained: Sequence[Measured]) -> list[Beside]:
    """Compares models with the run, row by row.

    Args:
        run: the run.
        cheap: the cheap models.
        trained: other trainings, such as one from scratch.
    """
    models = [*cheap, *trained]
    found = [difference(run.scores[None], model.scores[None]) for model in models]
    p_values: list[float] = [1.0] * len(models)
    for rows in {model.rows for model in models}:
        same = [i for i, model in enumerate(models) if model.rows == rows]
        for i, p in zip(same, holm([found[i].p for i in same]), strict=True):
            p_values[i] = p
    others = [
        Beside(model, spread(model.scores[None]), above, p, i < len(cheap))
        for i, (model, above, p) in enumerate(zip(models, found, p_values, strict=True))
    ]
    return [*others, Beside(run, spread(run.scores[None]), None, None, False)]


def verdict(found: Sequence[Beside], rows: int) -> str:
    """Whether the run beats all cheap models by more than chance, in a line.

    Args:
        found: the models, as :func:`compare` gives them.
        rows: rows of train; models that learned fewer do not count.
    """
    run = found[-1]
    known = [other for other in found if other.cheap and other.model.rows in (None, rows)]
    if not known:
        return ""
    best = max(known, key=lambda other: other.score.mean)
    matched = [other for other in known if not other.is_worse]
    if not matched:
        return (
            f"fine-tuning paid: {run.score.mean:.4f}, and the best cheap model"
            f" ({best.model.name}) {best.score.mean:.4f}; {_apart(best)}"
        )
    other = max(matched, key=lambda other: other.score.mean)
    how = "better" if other.is_better else "as good, as far as these rows tell"
    return (
        f"fine-tuning did not pay: {other.model.name} is {how} ({other.score.mean:.4f}, the run"
        f" {run.score.mean:.4f}; {_apart(other)}); keep it"
    )


def _apart(other: Beside) -> str:
    assert other.above is not None
    gain, low, high = other.above[:3]
    return f"difference {gain:+.4f} ({low:+.4f} to {high:+.4f})"


def from_scratch(found: Sequence[Beside], name: str) -> str:
    """What the pre-trained weights are worth, in a line; empty if that was not measured.

    Args:
        found: the models, as :func:`compare` gives them.
        name: name of the training from scratch; of several the one of most rows counts.
    """
    known = [other for other in found if other.model.name == name and other.above is not None]
    if not known:
        return ""
    other = max(known, key=lambda other: other.model.rows or 0)
    rows = f" on {other.model.rows:,} rows" if other.model.rows else ""
    return f"from scratch{rows}, at the run's own steps: {other.score.mean:.4f}; {_apart(other)}"


def figures(other: Beside) -> dict[str, Any]:
    """A model's figures, for a file."""
    model = other.model
    above = None if other.above is None else {**other.above._asdict(), "p_holm": other.p}
    return {
        "name": model.name,
        "cheap": other.cheap,
        "train_rows": model.rows,
        "score": other.score.mean,
        "low": other.score.low,
        "high": other.score.high,
        "metrics": {name: value for name, value in model.values.items() if np.isscalar(value)},
        "weights": model.weights,
        "spent": None if model.spent is None else model.spent._asdict(),
        "run_above": above,
    }
