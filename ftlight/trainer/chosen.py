"""Options whose value a run chooses itself before its first step, and keeps when it goes on."""

from __future__ import annotations

from typing import Any, Literal

from ftlight.data.module import DataModule
from ftlight.run import folder as runs
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.utils.atomic import atomic_write, writing

Section = Literal["model", "data"]


def recorded(run: RunState, section: Section, name: str) -> float | None:
    """What a run that goes on has chosen at its start; None if it has not."""
    if not (run.resume and run.given):
        return None
    value = runs.read_config(run.home).get(section, {}).get("init_args", {}).get(name)
    return value if isinstance(value, float | int) else None


def note(run: RunState, part: Task | DataModule, section: Section, name: str, value: Any) -> None:
    """Has a choice stand where an option was left to the run, in its config too."""
    part.options_given[name] = value
    if run.config:
        run.config[section]["init_args"][name] = value


def write(run: RunState) -> None:
    """Writes the config that the run records anew, which resumes with what was chosen.

    Raises:
        WriteError: the disk has no room for it.
    """
    if run.folder is not None and run.config:
        path = run.home / "config.yaml"
        with writing(path), atomic_write(path) as file:
            file.write(runs.as_yaml(run.config).encode())
