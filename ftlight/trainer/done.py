"""Whether a run that is to be resumed has anything left to do."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import lightning as L

from ftlight.data.module import DataModule
from ftlight.run import folder as runs
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer import same_rows
from ftlight.trainer.resume_state import part, peek
from ftlight.training.checkpoint import LAST
from ftlight.training.checkpoint_shape import restoring
from ftlight.utils.arguments import defaults
from ftlight.utils.atomic import read_json

log = logging.getLogger(__name__)


def is_done(trainer: L.Trainer, run: RunState, task: Task, data: Any) -> bool:
    """Whether a run has ended and its config asks no more of it; says so."""
    if not run.config or read_json(run.home / "run.json").get("status") != "done":
        return False
    unsaid = _defaults(trainer, task, data)
    if not asks_the_same(runs.read_config(run.home), run.config, unsaid):
        return False
    path = run.checkpoints / LAST
    state = part(peek(path), path)
    if "rows" in state:  # config.yaml may have been changed by hand
        mine = data if isinstance(data, DataModule) else None
        asked, default = same_rows.asked(trainer, mine), defaults(type(data))
        with restoring(path):
            changed = same_rows.changes(state["rows"], asked, default)
        if changed or _asks_more(state, trainer, run):
            return False
    log.info(
        "%s is done; nothing is left to do"
        " (for more raise trainer.max_epochs, max_steps, max_time or patience)",
        runs.short(run.home),
    )
    return True


def asks_the_same(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    default: Mapping[tuple[str, str], Any] | None = None,
) -> bool:
    """Whether a config asks what a recorded one asked.

    That may lack options of later versions, and those that were null: they count as their default.

    Args:
        old: config as recorded.
        new: config as asked for now.
        default: defaults by section and name of the option; null for those that are not among them.

    >>> old = {"trainer": {"max_epochs": 3}}
    >>> asks_the_same(old, {"trainer": {"max_epochs": 3, "newer": 1}}, {("trainer", "newer"): 1})
    True
    >>> asks_the_same(old, {"trainer": {"max_epochs": 3, "max_time": "1:0"}})
    False
    """
    before, now, default = _options(old), _options(new), default or {}
    return bool(before) and all(
        before.get(key, default.get(key)) == now.get(key, default.get(key))
        for key in {**before, **now}
    )


def _defaults(trainer: L.Trainer, task: Task, data: Any) -> dict[tuple[str, str], Any]:
    """Defaults of all options, by section and name."""
    sections = {"trainer": trainer, "model": task, "data": data}
    return {
        (section, name): value
        for section, part in sections.items()
        for name, value in defaults(type(part)).items()
    }


def _asks_more(state: Mapping[str, Any], trainer: L.Trainer, run: RunState) -> bool:
    """Whether limits allow more than those at which a run ended: all of them, or patience alone."""
    if not state["ended"]:
        return False
    epochs, steps, patience, _ = state["ended"]
    pairs: list[tuple[int | None, int | None]] = [(steps, run.max_steps)]
    pairs += [] if run.auto_epochs else [(epochs, trainer.max_epochs)]
    pairs += [(then, run.patience or -1) for then in patience]
    return any(_bound(now) > _bound(then) for then, now in pairs)


def _bound(value: int | None) -> float:
    return math.inf if value is None or value < 0 else value


def _options(config: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    found = {}
    for section, values in config.items():
        inside = values if isinstance(values, Mapping) else {"": values}
        for name, value in {**inside, **inside.get("init_args", {})}.items():
            if name != "init_args":
                found[section, name] = value
    return found
