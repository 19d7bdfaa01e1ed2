"""What a run is in W&B: its project, id and group, by the variables that W&B's tools set."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

GROUP, KIND = "WANDB_RUN_GROUP", "WANDB_JOB_TYPE"


def settle(known: Mapping[str, str], project: str) -> dict[str, str]:
    """What run.json notes of a W&B run before it starts: project, id, group and kind.

    Args:
        known: what it notes already, of a run that resumes.
        project: W&B's project.
    """
    new = {"id": os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)}
    given = {"group": os.environ.get(GROUP), "job_type": os.environ.get(KIND)}
    new |= {name: value for name, value in given.items() if value}
    return {**new, **known, "project": project}


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
