"""The temperature of a task's weights, put into its last layer for an export."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ftlight.models import scale
from ftlight.task import Task


def fold(task: Task, outputs: int, inputs: Mapping[str, Tensor]) -> str:
    """Puts the temperature into the weights: the model itself then gives calibrated logits.

    Args:
        task: the task.
        outputs: how many logits its last layer gives.
        inputs: what the model takes, to try it on.

    Returns:
        A line for whoever loads the model if its head takes no temperature; else nothing.
    """
    calibration = task.calibration
    if calibration is None or calibration.heat == 1.0:
        return ""
    if not scale.fold_temperature(task.model, calibration.heat, outputs, inputs):
        return f"\n# divide logits by {calibration.heat!r} for calibrated scores"
    task.calibration = calibration._replace(temperature=1.0)
    return ""
