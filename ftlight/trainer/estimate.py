"""What a run is about to cost: its time, memory and disk, from a rehearsal of its dearest stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ftlight.freezing import callback, cost
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer import rehearsal
from ftlight.trainer.legs import legs_of, rate_of
from ftlight.training import memory, optim
from ftlight.training.lightning_internals import is_dry_run
from ftlight.training.plan import Leg, Rate, seconds
from ftlight.utils.format import size, span

LEAST = 200  # optimizer steps of a run that is worth a rehearsal, which takes about four
ADAM = 8  # bytes that the optimizer keeps for a weight that trains


class Forecast(NamedTuple):
    """What the parts of a run cost.

    Attributes:
        rate: seconds of its steps and validations.
        legs: all of the run.
        test: seconds of the test.
    """

    rate: Rate
    legs: Sequence[Leg]
    test: float

    def rest(self, done: int) -> float:
        """Seconds that training still takes after so many optimizer steps."""
        return seconds(self.rate, self.legs, done)


def forecast(trainer: Any, run: RunState, task: Task) -> Forecast | None:
    """Rehearses the dearest stage, so that a lack of memory shows at once; all processes call this.

    A run with a time limit has been rehearsed for its plan.

    Args:
        trainer: the trainer, before its first step, with the steps of its schedule counted.
        run: state of the run.
        task: the task.

    Returns:
        None if the run is short, goes on, or cannot be rehearsed.
    """
    schedule, total = callback.of(trainer), optim.total_steps(trainer)
    stage = cost.dearest(schedule)
    skips = run.budget is not None or run.ckpt_path is not None or is_dry_run(trainer)
    if skips or total < LEAST or stage is None or rehearsal.obstacle(trainer):
        return None
    found = rehearsal.rehearse(trainer, task, schedule, stage, limit=0.0)
    rate = rate_of(trainer, stage, found)
    legs = legs_of(trainer, total, rate, found.epoch, fresh=True)
    return Forecast(rate, legs, found.test if run.test else 0.0)


def words(trainer: Any, run: RunState, task: Task, found: Forecast | None) -> str:
    """The cost in words, such as ``about 12m, peak 1.9 GB, 361 MB on disk``.

    Args:
        trainer: the trainer.
        run: state of the run.
        task: the task.
        found: what was rehearsed.
    """
    if found is None:
        return ""
    parts = [f"about {span(found.rest(0) + found.test)}"]
    if evaluates_otherwise(task):
        parts[0] += " (validations may take longer)"
    if peak := memory.peak(trainer.strategy.root_device):
        parts.append(f"peak {size(peak)}")
    if run.saves:
        parts.append(f"{size(on_disk(trainer, task))} on disk")
    return ", ".join(parts)


def evaluates_otherwise(task: Task) -> bool:
    """Whether a validation does more than steps do, such as generating texts."""
    return type(task).evaluate is not Task.evaluate


def on_disk(trainer: Any, task: Task) -> int:
    """Bytes of the best and the last checkpoint."""
    held = sum(t.numel() * t.element_size() for t in task.model.state_dict().values())
    return 2 * held + ADAM * callback.of(trainer).trained_weights
