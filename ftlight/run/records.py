"""What a run's own JSON files hold, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftlight.utils.json_file import ANY, Shape, is_there, read

COST: Shape = {"seconds": float, "processor": float, "joules": float, "way": str}
RUN: Shape = {
    "status": str,
    "command": [str],
    "started": str,
    "versions": {ANY: str},
    "seed": (int, None),
    "data_sha256": {ANY: str},
    "python_path": [str],
    "lacks": {ANY: str},
    "backbone": str,
    "began_from": (str, None),
    "from": str,
    "resumed": [dict],
    "best": dict,
    "intervals": {ANY: [float]},
    "wandb": dict,
    "dropped": [int],
    "epochs": int,
    "learning": dict,
    "weights": int,
    "cost": COST,
    "memory": int,
}
FORM: dict[str, Shape] = {
    "name": {"word", "joined", "list", "vector"},
    "separator": str,
    "labels": [str],
    "decimal": str,
    "thousands": str,
    "whole": bool,
}
LABELS: Shape = {
    "labels": [str],
    "kind": (str, None),
    "form": (FORM, None),
    "long_text": {"window"},
}
WAY = "restore it from a copy, or train again"


def facts(folder: Path) -> dict[str, Any]:
    """What run.json says of a run: where it comes from and how it ended; empty without one.

    Raises:
        UserError: the file is damaged.
    """
    return of(folder / "run.json", RUN)


def labels(folder: Path) -> dict[str, Any]:
    """What labels.json says of a run's labels; empty without one.

    Raises:
        UserError: the file is damaged.
    """
    known = of(folder / "labels.json", LABELS)
    if known.get("form") is not None:
        known["form"] = {key: known["form"][key] for key in FORM if key in known["form"]}
    return known


def of(path: Path, shape: Shape) -> dict[str, Any]:
    """What a JSON file of a run holds; empty if there is no such file.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    return dict(read(path, shape, WAY)) if is_there(path) else {}


def check(folder: Path) -> None:
    """Checks what a run has noted of itself.

    Raises:
        UserError: a file is damaged.
    """
    facts(folder)
    labels(folder)
