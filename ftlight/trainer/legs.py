"""The stretches of a run whose steps cost the same, for its plan and its forecast."""

from __future__ import annotations

import math
from typing import Any

from ftlight.freezing import callback, cost
from ftlight.freezing.auto import trial_steps
from ftlight.freezing.thaw import Thawing
from ftlight.trainer.rehearsal import Measured
from ftlight.training import optim
from ftlight.training.plan import Leg, Rate


def legs_of(trainer: Any, total: int, rate: Rate, epoch: float, fresh: bool = False) -> list[Leg]:
    """The legs of a run with so many steps.

    Args:
        trainer: the trainer, at any step.
        total: optimizer steps of the run.
        rate: what its parts cost.
        epoch: seconds of a pass of all layers forward over training and validation rows.
        fresh: whether stores of activations are planned anew.
    """
    schedule, done = callback.of(trainer), trainer.global_step
    if isinstance(schedule, Thawing) and schedule.search is not None:
        search = schedule.search
        return cost.legs_of_search(schedule, search, total, done, epoch, rate.work)
    start = schedule.progress.stage_starts[0]
    stores = schedule.stores
    if fresh:
        stores = schedule.stores_of(trainer, total - start)
    found = cost.legs(schedule, total - start, stores, epoch, schedule.draws)
    return [Leg(start, 0.0), *found] if start else found


def rate_of(trainer: Any, stage: int, found: Measured) -> Rate:
    """What the parts of a run cost, by a rehearsal of one of its stages."""
    unit = max(found.step, 1e-6) / cost.of_stage(callback.of(trainer), stage)
    return Rate(unit, found.validation, between_validations(trainer))


def between_validations(trainer: Any) -> float:
    """Optimizer steps from one validation to the next."""
    per_epoch = optim.steps_per_epoch(trainer)
    batches, epochs = trainer.val_check_batch, trainer.check_val_every_n_epoch
    if batches is None or math.isinf(batches):
        batches = trainer.num_training_batches
    every = batches / trainer.accumulate_grad_batches
    if epochs:
        every = every if every < per_epoch else per_epoch * epochs
    schedule = callback.of(trainer)
    if isinstance(schedule, Thawing) and schedule.search is not None and not schedule.search.over:
        every = min(every, trial_steps(per_epoch))
    return max(1.0, every)
