"""What a run is in W&B: its project, id and group, by the variables that W&B's tools set."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftlight.run import folder
from ftlight.utils.atomic import read_json

NAMES = ("project", "id", "group", "job_type")  # what W&B calls them
GROUP, KIND = "WANDB_RUN_GROUP", "WANDB_JOB_TYPE"


def settle(known: Mapping[str, Any], project: str, ended: bool = False) -> dict[str, Any]:
    """What run.json notes of a W&B run before it starts.

    Args:
        known: what it notes already, of a run that resumes.
        project: W&B's project.
        ended: whether the run that resumes had come to its end.

    Returns:
        Project, id, group and kind; ``anew`` if the next value takes a new step.
    """
    new = {"id": os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)}
    given = {"group": os.environ.get(GROUP), "job_type": os.environ.get(KIND)}
    new |= {name: value for name, value in given.items() if value}
    return {**new, **known, "project": project, **({"anew": True} if ended and known else {})}


def count_from(home: Path, base: int) -> None:
    """Notes the steps before the first line of metrics.csv, in a run that trains on after its end.

    Args:
        home: the run folder.
        base: these steps.
    """
    about = {**read_json(home / "run.json")["wandb"], "base": base}
    about.pop("anew", None)
    with contextlib.suppress(OSError):  # the disk is full, which others say
        folder.update(home, wandb=about)


def of_agent() -> str | None:
    """The project of the sweep whose agent has started this process; None if none has."""
    is_swept = bool(os.environ.get("WANDB_SWEEP_ID"))
    return os.environ.get("WANDB_PROJECT", "uncategorized") if is_swept else None


def grouped(home: Path, kind: str) -> dict[str, str]:
    """Variables by which W&B shows the runs of one folder as a group; those that are set stay.

    Args:
        home: folder of the runs.
        kind: what each is: seed, fold or trial.
    """
    place = home.resolve()
    own = {GROUP: f"{place.parent.name}/{place.name}", KIND: kind}
    return {name: os.environ.get(name) or value for name, value in own.items()}
