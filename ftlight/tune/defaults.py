"""What a tune varies if no sweep is given: the few options that matter most for the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftlight.tune.space import Parameter

TIMES = 4.0  # that the rate may be above or below its default
WORDS = ("gradual", "lp_ft", "all")  # of schedules


def space(
    model: Mapping[str, Any], known: Mapping[str, Any], lr: float, thaws: bool
) -> list[Parameter]:
    """The options of a task that are tried.

    Args:
        model: options of its config.
        known: all its options, with their defaults.
        lr: its learning rate: that of the config, else the default.
        thaws: whether it thaws layer by layer unless told otherwise.

    >>> names = {"class_weight": None, "label_smoothing": 0.0}
    >>> [p.name for p in space({"unfreeze": "head"}, names, 1e-4, True)]
    ['model.class_weight', 'model.label_smoothing']
    """
    schedule = model.get("unfreeze")
    if is_solved(model):
        wanted: dict[str, list[Any]] = {
            "pooling": [known.get("pooling"), "mean", "cls", "max"],
            "class_weight": [None, "balanced"],
            "label_smoothing": [0.0, 0.05, 0.1, 0.2],
        }
        return [
            Parameter(f"model.{name}", list(dict.fromkeys(values)))
            for name, values in wanted.items()
            if name in known
        ]
    found = [Parameter("model.lr", None, _short(lr / TIMES), _short(lr * TIMES), log=True)]
    if model.get("peft") is None:
        if thaws and (schedule is None or schedule in WORDS):
            found.append(Parameter("model.unfreeze", list(WORDS)))
        found.append(Parameter("model.layer_decay", [1.0, 0.9, 0.8]))
    found.append(Parameter("model.weight_decay", [0.01, 0.1, 1.0]))
    found.append(Parameter("model.dropout", [None, 0.0, 0.2]))
    return found


def is_solved(model: Mapping[str, Any]) -> bool:
    """Whether a config trains a head alone, which is solved: it has no learning rate."""
    return model.get("unfreeze") == "head" and model.get("head_fit", "solve") == "solve"


def _short(value: float) -> float:
    return float(f"{value:.3g}")
