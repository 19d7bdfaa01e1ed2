"""How much of train is held out if a schedule decides by validation."""

from __future__ import annotations

from typing import Any

from ftlight.data.module import DataModule
from ftlight.freezing.auto import LEAST_ROWS
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.utils.arguments import defaults

WIDER = 0.2  # of train, instead of data.validation_split's default


def widen(run: RunState, task: Task, data: Any) -> None:
    """Holds more of train out if ``unfreeze: auto`` can decide by that, and not by the default.

    Another share than the default stays, as do validation data. The run records the share.

    Args:
        run: state of the run.
        task: the task.
        data: its data module.
    """
    if task.schedule != "auto" or not isinstance(data, DataModule):
        return
    share = data.shares["validation"]
    if data.fold is not None:
        return
    if data.files["validation"] or share != defaults(type(data)).get("validation_split"):
        return
    rows = len(data.load_split("validation"))
    if rows >= LEAST_ROWS or rows * WIDER / share < LEAST_ROWS:
        return
    data.hold_out(WIDER)
    if run.config:
        run.config["data"]["init_args"]["validation_split"] = WIDER
