"""The config of a run whose task, data module and trainer were made in Python, as YAML holds it.

Constructors note their options as given. What YAML cannot hold is left out and named, in run.json
too: who loads the run must not take a default for it.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftlight.data.module import DataModule
from ftlight.run import folder as runs
from ftlight.run import former
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer.resume_state import peek
from ftlight.utils import secrets
from ftlight.utils.arguments import accepted, defaults
from ftlight.utils.paths import anchor

log = logging.getLogger(__name__)
NOT_KEPT = {  # what every command says anew, and what data and model tell each other
    "trainer": {"run", "name", "resume"},
    "model": {"labels", "kind"},
    "data": {"tokenizer"},
}


def keep(run: RunState, trainer: Any, task: Task, data: Any) -> None:
    """Gives a run the config that its task, data module and trainer were made with.

    A run of the command line has one already.

    Args:
        run: state of the run.
        trainer: the trainer, with ``options_given``.
        task: the task.
        data: its data module, or what else feeds it.
    """
    if run.config:
        return
    seed = os.environ.get("PL_GLOBAL_SEED")
    config, lacks = config_of(task, data, _schedule(run))
    options, missing = _options("trainer", {**defaults(type(trainer)), **trainer.options_given})
    options["use_distributed_sampler"] = False  # Trainer sets it, whatever Lightning's default
    seeded = {"seed_everything": int(seed) if seed else False}
    run.config = secrets.redact({**seeded, "trainer": options, **config})
    run.lacks = lacks
    for name, why in {**missing, **lacks}.items():
        needed = "which no later verb needs" if name in missing else "which later verbs need"
        log.info("config.yaml lacks %s, %s: %s", name, needed, why)


def config_of(
    task: Task, data: Any, schedule: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The sections ``model`` and ``data`` of a config, and why options are not in them, by name.

    Args:
        task: the task.
        data: its data module, or what else feeds it.
        schedule: options of the schedule that a run keeps unless others were given.
    """
    config: dict[str, Any] = {}
    kept = {"unfreeze": task.schedule, **(schedule or {})}
    config["model"], lacks = _section("model", task, kept)
    if not isinstance(data, DataModule):
        return config, {**lacks, "data": "loaders or a data module that is not ftlight's"}
    config["data"], of_data = _section("data", data)
    tokenizer = str(data.tokenizer_name)
    if _place(tokenizer) != _place(task.backbone):
        of_data["data.tokenizer"] = f"{tokenizer} is not the one of model.backbone"
    return config, {**lacks, **of_data}


def folders_of(*parts: object) -> list[str]:
    """Folders from which the classes of parts can be imported, if these are not installed."""
    found = []
    for part in parts:
        module = sys.modules[type(part).__module__.partition(".")[0]]
        file = getattr(module, "__file__", None)
        if file and module.__name__ not in ("ftlight", "lightning", "__main__"):
            top = Path(file).absolute().parent
            found.append(str(top.parent if hasattr(module, "__path__") else top))
    return [folder for folder in found if "site-packages" not in folder]


def _section(
    section: str, part: Task | DataModule, kept: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """A section in ``class_path`` form, and what it lacks.

    Args:
        section: model or data.
        part: the task or the data module.
        kept: options that it has unless others were given.
    """
    cls = type(part)
    given = {name: value for name, value in part.options_given.items() if value is not None}
    asked = {**defaults(cls), **(kept or {}), **given}
    known = accepted(cls)
    options, lacks = _options(section, {n: v for n, v in asked.items() if n in known})
    path = f"{cls.__module__}.{cls.__qualname__}"
    if cls.__module__ == "__main__" or "<locals>" in path:
        lacks[section] = f"{cls.__name__} is defined in a notebook, a script or a function, and"
        lacks[section] += " nothing else can import it; put it into a file of its own"
    return {"class_path": runs.public_path(path), "init_args": options}, lacks


def _options(section: str, asked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Options as plain values, without those that are null; and why others are not among them."""
    options, lacks = {}, {}
    for name, value in asked.items():
        if value is None or value == () or name in NOT_KEPT[section]:
            continue
        try:
            options[name] = anchor(section, name, plain(value), Path())
        except TypeError as error:
            lacks[f"{section}.{name}"] = str(error)
    return options, lacks


def plain(value: Any) -> Any:
    """A value as YAML holds it.

    Raises:
        TypeError: it is, or holds, an object of another kind.

    >>> plain({"stages": ({"train": "head", "file": Path("a.csv")},)})
    {'stages': [{'train': 'head', 'file': 'a.csv'}]}
    >>> plain([1, object()])
    Traceback (most recent call last):
    TypeError: a value of type object is not plain
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if callable(getattr(value, "item", None)) and not getattr(value, "shape", ()):
        return value.item()  # a number of numpy or torch
    kind = value.__qualname__ if inspect.isclass(value) else type(value).__qualname__
    raise TypeError(f"a value of type {kind} is not plain")


def _schedule(run: RunState) -> dict[str, Any]:
    """Options of the schedule that a run keeps from the checkpoint that it begins with."""
    path = run.ckpt_path
    state = peek(Path(path)).get("callbacks", {}).get("Freezing") if path is not None else None
    return former.saved(state) if state else {}


def _place(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name
