"""WiSE-FT: weights between the pre-trained and the fine-tuned model (Wortsman et al. 2022, arXiv:2109.01903)."""

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
    """The share of the fine-tuned weights that an option says; None for auto.

    Raises:
        UserError: it is neither auto nor a share.
    """
    try:
        found = None if value == "auto" else float(value)
    except ValueError:
        found = -1.0
    if found is not None and not 0 <= found <= 1:
        raise UserError(
            f"--wise {value}: expected auto, or the share of the fine-tuned weights from 0 to 1"
        )
    return found


def mix(start: Mapping[str, Tensor], end: Mapping[str, Tensor], part: float) -> dict[str, Tensor]:
    """Weights between two models, of the second where the first has none.

    Args:
        start: weights of the pre-trained model.
        end: weights of the fine-tuned model.
        part: share of the second, 0 to 1.

    >>> mix({"w": torch.tensor([0.0, 2.0])}, {"w": torch.tensor([1.0, 4.0]), "head": torch.tensor(3.0)}, 0.5)
    {'w': tensor([0.5000, 3.0000]), 'head': tensor(3.)}
    """
    return {
        n: torch.lerp(start[n].float(), v.float(), part).to(v.dtype) if n in start else v
        for n, v in end.items()
    }


def ends(task: Task, checkpoint: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the backbone as it was pre-trained, and all weights of a checkpoint; the task must hold the former.

    A head has no pre-trained weights: it is always that of the checkpoint. Adapters are merged.
    """
    start = {n: v.detach().clone() for n, v in task.state_dict().items() if v.is_floating_point()}
    if task.peft is not None:
        start = plain_names(start, task.fixed)
    task.load_weights(checkpoint)
    task.merge_adapters()
    new = {f"model.{n}" for n in layer_groups(task.model).get("head", ())}
    return {n: v for n, v in start.items() if n not in new}, {
        n: v.detach().clone() for n, v in task.state_dict().items()
    }


def apply(task: Task, checkpoint: str, value: str, measure: Callable[[], float]) -> dict[str, Any]:
    """Puts weights between the pre-trained and those of a checkpoint into a task.

    Args:
        task: the task, with its pre-trained weights.
        checkpoint: file of the fine-tuned weights.
        value: share of the fine-tuned weights, or auto for the one with the best validation.
        measure: measures the task as it is on the validation data, by its monitor.

    Returns:
        The share, the checkpoint, and where the share was chosen the value of each.
    """
    if not task.pretrained:
        raise UserError(
            f"--wise {value}: the run did not start from pre-trained weights (model.pretrained: false)"
        )
    part, scores = share(value), dict[float, float]()
    start, end = ends(task, checkpoint)
    if part is None:
        for candidate in GRID:
            task.load_state_dict(mix(start, end, candidate))
            scores[candidate] = measure()
        sign = 1 if task.mode == "max" else -1
        part = max(
            GRID, key=lambda p: (sign * scores[p] if math.isfinite(scores[p]) else -math.inf, p)
        )  # of equal ones the most tuned
    task.load_state_dict(mix(start, end, part))
    if scores and part != GRID[-1]:
        measure()  # what a task learns of a validation, such as a threshold, is that of the chosen weights
    chosen = {"validation": {str(k): v for k, v in scores.items()}} if scores else {}
    return {"share": part, "checkpoint": Path(checkpoint).stem, **chosen}
