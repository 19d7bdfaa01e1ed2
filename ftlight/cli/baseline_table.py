"""What ``baselines`` shows and writes: a table, and all figures as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftlight.evidence.baseline_verdict import Beside, figures
from ftlight.evidence.baselines import Frozen, Growth
from ftlight.utils.format import count, number
from ftlight.utils.spent import Spent


def lines(
    found: Sequence[Beside], metric: str, frozen: Sequence[Frozen], growth: Growth | None
) -> list[list[str]]:
    """The models as rows of a table, with a header.

    Args:
        found: the models.
        metric: the task's own metric, which has a column if it is not the score.
        frozen: passes of frozen backbones.
        growth: the learning curve, if there is one.
    """
    other_metric = any(_differs(model, metric) for model in found)
    more = [metric] if other_metric else []
    head = ["", "train rows", "score", "95 % interval", *more]
    compared = ["run is better by", "p"] if any(one.above is not None for one in found) else []
    rows = [[*head, "seconds", "of processors", "weights", "energy", *compared]]
    for beside in found:
        model, score = beside.model, beside.score
        row = [model.name, "" if model.rows is None else f"{model.rows:,}", f"{score.mean:.4f}"]
        row.append(f"{score.low:.4f} to {score.high:.4f}")
        row += [number(model.values.get(metric))] if other_metric else []
        row += costs(model.spent, model.weights)
        if beside.above is not None:
            gain, low, high = beside.above[:3]
            row += [f"{gain:+.4f} ({low:+.4f} to {high:+.4f})", f"{beside.p:.2g}"]
        rows.append(row)
    empty = [""] * (len(head) - 1)
    others = [(f"frozen pass, {name_of(given.backbone)}", given.spent) for given in frozen]
    others += [] if growth is None else [("learning curve", growth.spent)]
    return [*rows, *([name, *empty, *costs(spent)] for name, spent in others)]


def _differs(beside: Beside, metric: str) -> bool:
    mean = beside.score.mean
    return abs(beside.model.values.get(metric, mean) - mean) > 1e-6 * max(1.0, abs(mean))


def costs(spent: Spent | None, weights: int | None = None) -> list[str]:
    """Seconds, those of processors, weights learned, and energy, as cells; empty if not known."""
    size = "" if weights is None else count(weights)
    if spent is None:
        return ["", "", size, ""]
    return [f"{spent.seconds:.1f}", f"{spent.processor:.1f}", size, energy(spent.joules)]


def energy(joules: float) -> str:
    """Energy in words.

    >>> energy(4.21), energy(420), energy(7200)
    ('4.2 J', '420 J', '2 Wh')
    """
    if joules < 3600:
        return f"{joules:.2g} J" if joules < 100 else f"{joules:.0f} J"
    return f"{joules / 3600:.3g} Wh"


def name_of(backbone: str) -> str:
    """The name of a backbone without its folder or owner."""
    return Path(backbone).name


def ways(found: Sequence[Beside], frozen: Sequence[Frozen]) -> str:
    """How energy is known, in a line."""
    spent = [beside.model.spent for beside in found] + [given.spent for given in frozen]
    return "energy: " + "; ".join(dict.fromkeys(one.way for one in spent if one is not None))


def as_json(
    found: Sequence[Beside],
    split: str,
    score: str,
    metric: str,
    frozen: Sequence[Frozen],
    growth: Growth | None,
    verdicts: Sequence[str],
) -> dict[str, Any]:
    """All figures, for a file."""
    passes = [{"backbone": given.backbone, **given.spent._asdict()} for given in frozen]
    curve = None
    if growth is not None:
        forecast = growth.forecast
        curve = {
            "scores": {str(size): scores for size, scores in growth.scores.items()},
            "spent": growth.spent._asdict(),
            "forecast": None if forecast is None else _forecast(forecast),
        }
    rows = len(found[0].model.scores)
    return {
        "split": split,
        "rows": rows,
        "score": score,
        "metric": metric,
        "models": [figures(beside) for beside in found],
        "frozen_passes": passes,
        "learning_curve": curve,
        "verdict": [line for line in verdicts if line],
    }


def _forecast(forecast: Any) -> dict[str, Any]:
    names = ("curve", "twice", "four_times", "last")
    parts = {name: getattr(forecast, name)._asdict() for name in names}
    return {"rows": forecast.rows, **parts, "helps": forecast.helps}
