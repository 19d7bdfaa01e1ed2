"""Options of earlier versions: what a run that goes on keeps of them, and which are gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Options of the model as 0.1 had them: their defaults, or how it did what is now an option.
MODEL = {"unfreeze": "all", "lr_over": "stage", "head_fit": "step"}
# Those of a TextClassification.
TEXT = {"long_text": "cut"}

# Options of the data that are gone, with what does their work now.
GONE = {
    "max_overlap": "a validation or test file with over 90 % of its rows in train is an error;"
    " set data.check: off to train all the same"
}


def data(options: Mapping[str, Any]) -> dict[str, Any]:
    """The data's options in a config.yaml, under their names of now, without those that are gone.

    >>> data({"check": "header", "max_overlap": 0.9})
    {'image_check': 'header'}
    """
    kept = {name: value for name, value in options.items() if name not in GONE}
    if kept.get("check") in ("full", "header"):
        kept["image_check"] = kept.pop("check")
    return kept


def recorded(options: Mapping[str, Any]) -> dict[str, Any]:
    """The model's options in a config.yaml, with those that the version which wrote it lacked.

    A class of one's own that does not hand on the options of ``Task`` has none of them.

    >>> recorded({"nonfinite": "stop", "unfreeze": "head"})
    {'unfreeze': 'head', 'lr_over': 'stage', 'head_fit': 'step', 'nonfinite': 'stop'}
    >>> recorded({"contrastive": 0.0})
    {'long_text': 'cut', 'contrastive': 0.0}
    """
    lacked = {**(MODEL if "nonfinite" in options else {})}
    lacked |= TEXT if "contrastive" in options else {}
    return {**lacked, **options}


def saved(schedule: Mapping[str, Any]) -> dict[str, Any]:
    """The model's options with which the schedule in a checkpoint was made.

    Args:
        schedule: the state of ``Freezing``.
    """
    return {**MODEL, **schedule.get("options", {})}
