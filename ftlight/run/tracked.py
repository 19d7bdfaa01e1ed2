"""What a run is in W&B: its project, id and group, by the variables that W&B's tools set."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

from ftlight.run import folder as runs
from ftlight.utils import secrets
from ftlight.utils.atomic import read_json
from ftlight.utils.printable import printable

NAMES = ("project", "id", "group", "job_type")  # what W&B calls them
WAITS = {"init_timeout": 30.0, "finish_timeout": 600.0}  # seconds for a connection, for uploads
GROUP, KIND = "WANDB_RUN_GROUP", "WANDB_JOB_TYPE"
ONE_RUN = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")  # make a process one run


def new_id() -> str:
    """An id that no W&B run has."""
    return token_hex(4)


def settle(known: Mapping[str, Any], project: str, ended: bool = False) -> dict[str, Any]:
    """What run.json notes of a W&B run before it starts.

    Args:
        known: what it notes already, of a run that resumes.
        project: W&B's project.
        ended: whether the run that resumes had come to its end.

    Returns:
        Project, id, group and kind; ``anew`` if the next value takes a new step.
    """
    new = {"id": os.environ.get("WANDB_RUN_ID") or new_id()}
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
        runs.update(home, wandb=about)


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
    own = {GROUP: printable(f"{place.parent.name}/{place.name}"), KIND: kind}
    return {name: os.environ.get(name) or value for name, value in own.items()}


def begin(folder: Path, about: Mapping[str, Any], mode: str = "") -> Any:
    """Starts a W&B run, or continues it, without a word on the screen.

    Args:
        folder: the folder that it is named after and keeps its log in.
        about: project, id, group and kind.
        mode: W&B's mode; empty for that of its settings.
    """
    import wandb

    given: dict[str, Any] = {
        name: value for name, value in WAITS.items() if f"WANDB_{name}".upper() not in os.environ
    }
    given |= {"mode": mode} if mode else {}
    settings = wandb.Settings(silent=True, console="off", finish_timeout_raises=True, **given)
    name = os.environ.get("WANDB_NAME") or printable(f"{folder.parent.name}/{folder.name}")
    named = {key: value for key, value in about.items() if key in NAMES}
    with _clean_command():
        return wandb.init(name=name, dir=str(folder), resume="allow", settings=settings, **named)


@contextlib.contextmanager
def _clean_command() -> Iterator[None]:
    """Hides secrets of the command line, which W&B records at the start of a run."""
    argv = sys.argv
    sys.argv = [*argv[:1], *secrets.command(argv[1:])]
    try:
        yield
    finally:
        sys.argv = argv
