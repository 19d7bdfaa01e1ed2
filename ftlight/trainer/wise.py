"""WiSE-FT: weights between a pre-trained and a fine-tuned model.

Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (arXiv:2109.01903).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ftlight.models.adapters import plain_names
from ftlight.models.layers import layer_groups
from ftlight.task import Task
from ftlight.utils.errors import UserError

GRID = [i / 10 for i in range(11)]


def share(value: str) -> float | None:
    """The share of the fine-tuned weights that an option names; None for auto.

    Raises:
        UserError: it is neither auto nor a share.
    """
    if value == "auto":
        return None
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise UserError(
            f"--wise {value}: expected auto, or the share of the fine-tuned weights from 0 to 1"
        )
    return number


def mix(start: Mapping[str, Tensor], end: Mapping[str, Tensor], part: float) -> dict[str, Tensor]:
    """Interpolates between two models; keeps weights that only the second has.

    Args:
        start: weights of the pre-trained model.
        end: weights of the fine-tuned model.
        part: share of the second, 0 to 1.

    >>> mix({"w": torch.tensor([0.0, 2.0])}, {"w": torch.tensor([1.0, 4.0])}, 0.5)
    {'w': tensor([0.5000, 3.0000])}
    >>> mix({}, {"head": torch.tensor(3.0)}, 0.5)
    {'head': tensor(3.)}
    """
    mixed = dict(end)
    for name in start.keys() & end.keys():
        between = torch.lerp(start[name].float(), end[name].float(), part)
        mixed[name] = between.to(end[name].dtype)
    return mixed


def ends(task: Task, checkpoint: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The pre-trained weights of a backbone, and all weights of a checkpoint, adapters merged.

    A head has no pre-trained weights: it is always the checkpoint's.

    Args:
        task: the task, which must hold its pre-trained weights; it holds the checkpoint's after.
        checkpoint: file of the fine-tuned weights.
    """
    start = {n: v.detach().clone() for n, v in task.state_dict().items() if v.is_floating_point()}
    if task.peft is not None:
        start = plain_names(start, task.fixed)
    task.load_weights(checkpoint)
    task.calibration = None  # a mix has other probabilities
    task.merge_adapters()
    head = {f"model.{name}" for name in layer_groups(task.model).get("head", ())}
    end = {name: value.detach().clone() for name, value in task.state_dict().items()}
    return {name: value for name, value in start.items() if name not in head}, end


def apply(task: Task, checkpoint: str, value: str, measure: Callable[[], float]) -> dict[str, Any]:
    """Puts weights between the pre-trained ones and those of a checkpoint into a task.

    Args:
        task: the task, with its pre-trained weights.
        checkpoint: file of the fine-tuned weights.
        value: share of the fine-tuned weights, or auto for the one with the best validation.
        measure: measures the task as it is on the validation data, by its monitor.

    Returns:
        ``share``, ``checkpoint`` (its name) and, for auto, ``validation``: the score of each share.

    Raises:
        UserError: the value is no share, or the run did not start from pre-trained weights.
    """
    if not task.pretrained:
        raise UserError(
            f"--wise {value}: the run did not start from pre-trained weights"
            " (model.pretrained: false)"
        )
    part = share(value)
    start, end = ends(task, checkpoint)
    mixed: dict[str, Any] = {"share": part, "checkpoint": Path(checkpoint).stem}
    if part is None:
        scores = {}
        for candidate in GRID:
            task.load_state_dict(mix(start, end, candidate))
            scores[candidate] = measure()
        part = _best(scores, task.mode)
        mixed |= {"share": part, "validation": {str(k): v for k, v in scores.items()}}
    task.load_state_dict(mix(start, end, part))
    if "validation" in mixed and part != GRID[-1]:
        measure()  # what a task learns of a validation, such as a threshold, belongs to this share
    return mixed


def _best(scores: Mapping[float, float], mode: str) -> float:
    """The share with the best score; of equal ones the most fine-tuned.

    >>> _best({0.0: 0.5, 0.5: 0.7, 1.0: 0.7}, "max"), _best({0.0: math.nan, 1.0: 3.0}, "min")
    (1.0, 1.0)
    """
    sign = 1 if mode == "max" else -1

    def key(candidate: float) -> tuple[float, float]:
        score = scores[candidate]
        return (sign * score if math.isfinite(score) else -math.inf, candidate)

    return max(scores, key=key)
