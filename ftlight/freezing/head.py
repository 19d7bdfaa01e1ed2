"""Solves the head of a task before its first step: when it can be, and what that does to a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn

from ftlight.data.sampling import run_seed
from ftlight.freezing import identity
from ftlight.freezing import store as files
from ftlight.freezing.cache import PrefixCache
from ftlight.freezing.linear import Head, Vectors
from ftlight.freezing.solve import Solution, solve
from ftlight.freezing.vectors import linear_head, see, share, vectors
from ftlight.models.losses import Loss
from ftlight.run.state import state_of
from ftlight.training import lightning_internals, optim
from ftlight.training.lightning_internals import callbacks_of
from ftlight.utils.distributed import first_reason
from ftlight.utils.format import number

log = logging.getLogger(__name__)
T = TypeVar("T", Head, Vectors)
CLOSE = 1e-2  # how well two slopes must agree, as a share of them


class Objective(NamedTuple):
    """What a linear head learns.

    Attributes:
        loss: mean loss as a function of its outputs.
        pulled: whether the penalty pulls towards its weight at the start, instead of 0.
    """

    loss: Loss
    pulled: bool = False


# When


def refusal(task: Any) -> str:
    """Why the head of a task cannot be solved, or nothing."""
    objective = task.head_objective()
    if isinstance(objective, str):
        return objective
    for kind in type(task).__mro__:
        if "head_objective" in vars(kind):
            break
        if own := [n for n in ("step", "loss", "training_step") if n in vars(kind)]:
            return f"{kind.__name__} has a {own[0]} of its own"
    layer = linear_head(task.model)
    return layer if isinstance(layer, str) else ""


def obstacle(trainer: Any, task: Any, later: bool, draws: int = 0) -> str:
    """Why the head cannot be solved in this run, or nothing.

    Args:
        trainer: the trainer.
        task: the task.
        later: whether it is to be solved after other stages.
        draws: random draws of augmented rows, which are solved without; 0 if there are none.
    """
    if later and callbacks_of(trainer, WeightAveraging):
        return "the weights are averaged, and their vectors would be of others"
    if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
        return f"no process has all weights under {type(trainer.strategy).__name__}"
    if lightning_internals.is_dry_run(trainer) or not optim.runs_all_batches(trainer, "train"):
        return "an option leaves training batches out"
    if trainer.min_epochs or trainer.min_steps:
        return "trainer.min_epochs or min_steps asks for steps"
    return identity.obstacle(trainer, task, draws)


def find_fault(trainer: Any, task: Any) -> str:
    """Why the head cannot be solved, tried on a batch, or nothing. All processes must call this.

    The slope of the task's own loss at the head's outputs must be that of the objective: it is
    not if the head does more than one layer, or the task learns something else.
    """
    reason = ""
    try:
        with files.preserve_rng():
            if (batch := next(share(trainer, "train"), None)) is not None:
                reason = _differs(trainer, task, batch)
    except ValueError as error:
        reason = str(error)
    return first_reason(reason, trainer.world_size)


def _differs(trainer: Any, task: Any, batch: dict[str, Any]) -> str:
    layer = linear_head(task.model)
    assert isinstance(layer, nn.Linear)
    seen = see(trainer, task, layer, batch, trains=True)
    own = seen.slope(seen.loss)
    picked = task.head_vectors(batch, torch.cat(seen.parts), seen.used())
    plain = seen.slope(task.head_objective().loss.of(picked.states.float(), picked.targets))
    if float((own - plain).float().norm()) <= CLOSE * float(own.float().norm()):
        return ""
    return "its loss is not that of its last layer alone"


# How


def fit(trainer: Any, task: Any, cache: PrefixCache, cut: int | None, stage: str) -> str:
    """Solves the head, sets its weights, and validates. All processes must call this.

    Args:
        trainer: the trainer.
        task: the task.
        cache: cache of its frozen layers; left open for the validation.
        cut: number of frozen layers to keep the output of; None if it has what there is.
        stage: the stage in words, for the log.

    Returns:
        Why it could not be solved, or nothing.
    """
    begun = time.monotonic()
    objective, layer = task.head_objective(), linear_head(task.model)
    assert isinstance(layer, nn.Linear)
    if cut is not None:
        cache.begin(trainer, task, cut, stage)
    found, reason = None, ""
    try:
        splits = [s for s in ("train", "validation") if s in trainer.datamodule.sets]
        held = {split: vectors(trainer, task, split, cache) for split in splits}
        if trainer.is_global_zero:  # sums depend on the number of threads
            found = _solved(layer, objective, held)
    except ValueError as error:
        reason = str(error)
    found, reason = trainer.strategy.broadcast((found, reason))
    if found is None:
        return reason
    _set(trainer, layer, found.head)
    task.solved_on = _one_each(held["train"])
    seconds = time.monotonic() - begun
    validated = _validate(trainer)
    score = trainer.callback_metrics.get(task.monitor) if validated else None
    if trainer.is_global_zero:
        rows = len(set(held["train"].rows.tolist()))
        log.info(line(found, rows, seconds, task.monitor, score))
    return ""


def _one_each(train: Vectors) -> Tensor | None:
    """The vectors of rows ``[rows, width]``; None if rows have several."""
    return train.states if len(torch.unique(train.rows)) == len(train.rows) else None


def _solved(layer: nn.Linear, objective: Objective, held: Mapping[str, Vectors]) -> Solution:
    """Solves on the head's own device, or on the CPU if that has no 64 bits."""
    device = "cpu" if layer.weight.device.type == "mps" else layer.weight.device
    bias = None if layer.bias is None else layer.bias.detach().float()
    start = Head(layer.weight.detach().float(), bias)
    if not objective.pulled:
        start = Head(start.weight * 0, None if bias is None else bias * 0)
    train, start = _to(held["train"], device), _to(start, device)
    validation = _to(held["validation"], device) if "validation" in held else None
    found = solve(train, objective.loss, start, validation, seed=run_seed())
    return found._replace(head=_to(found.head, "cpu"))


def _to(tensors: T, device: Any) -> T:
    return type(tensors)(*(None if t is None else t.to(device) for t in tensors))  # type: ignore


def _validate(trainer: Any) -> bool:
    """Validates between two steps: stopped there, a run solves again. Returns whether it can."""
    run = state_of(trainer)
    if run is None:
        return lightning_internals.validate_now(trainer)
    run.between_steps = True
    try:
        return lightning_internals.validate_now(trainer)
    finally:
        run.between_steps = False


@torch.no_grad()
def _set(trainer: Any, layer: nn.Linear, head: Head) -> None:
    """Sets the weights of a layer, and of an average of the weights that starts with them."""
    layer.weight.copy_(head.weight)
    if head.bias is not None:
        layer.bias.copy_(head.bias)
    lightning_internals.begin_averages(trainer)


def line(found: Solution, rows: int, seconds: float, monitor: str, score: Any) -> str:
    """What was solved, in one line.

    >>> head = Head(torch.zeros(1, 1), None)
    >>> line(Solution(head, 0.01, 1.5, {0.01: 0.3}, 0), 8002, 2.13, "val/f1", torch.tensor(0.91))
    'the head is solved on 8,002 rows in 2.1 s: penalty 0.01 by validation; val/f1 0.91'
    """
    by = f"{found.folds} of 5 folds" if found.folds else "validation"
    tail = "" if score is None else f"; {monitor} {number(float(score))}"
    solved = f"the head is solved on {rows:,} rows in {seconds:.1f} s"
    return f"{solved}: penalty {found.penalty:.2g} by {by}{tail}"
