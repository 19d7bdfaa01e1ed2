"""Learning rates as pure functions of the step, the schedule and where its stages began."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ftlight.freezing.schedule import Shape, Stage

MOST_RAMP = 10  # steps in which a layer that is newly thawed reaches its rate


def lr_factor(step: int, total: int, warmup: float, shape: Shape) -> float:
    """The factor on every learning rate at an optimizer step.

    Args:
        step: number of the step, from 0.
        total: steps of the stage.
        warmup: share of the steps in which the factor rises to 1.
        shape: how it falls to 0 after that.

    >>> [lr_factor(s, 10, 0.2, "linear") for s in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.125]
    """
    rise = math.ceil(total * warmup)
    if step < rise:
        return (step + 1) / rise
    if shape == "constant":
        return 1.0
    left = max(0.0, (total - step) / max(1, total - rise))
    return left if shape == "linear" else 0.5 * (1 - math.cos(math.pi * left))


def lr_at(stage: Stage, depth: int, step: int, length: int) -> float:
    """Learning rate of a layer at a step of a stage.

    Args:
        stage: the stage.
        depth: number of layers above this one.
        step: optimizer steps since the stage began.
        length: optimizer steps of the stage; if patience ends it, the most or those of an epoch.

    >>> lr_at(Stage(("all",), lr=1.0, layer_decay=0.5), depth=2, step=5, length=10)
    0.125
    """
    shape: Shape = "constant" if stage.patience is not None else stage.lr_schedule
    return stage.lr * stage.layer_decay**depth * lr_factor(step, length, stage.warmup, shape)


def lr_in_run(
    stages: Sequence[Stage],
    starts: Sequence[int],
    trained: Sequence[bool],
    depth: int,
    step: int,
    length: int,
    total: int,
) -> float:
    """Learning rate of a layer at an optimizer step of a run; 0 if it is frozen.

    With ``lr_over: run`` it is the stage's own rate times the factor of the run, which rises and
    falls once, whatever the stages. A layer that the stage thaws rises to that over the warm-up's
    share of the stage, in 10 steps at most: its optimizer state is empty.

    Args:
        stages: those of the schedule.
        starts: step at which each stage so far began; the last of them is running.
        trained: whether the layer trains, by stage.
        depth: number of layers above this one.
        step: the step.
        length: optimizer steps of the running stage, as :func:`lr_at` takes them.
        total: optimizer steps of the run, from its first stage on; 0 if nothing limits it, and each
            stage then rises and falls by itself.

    >>> stages = [Stage(("head",), steps=20, lr=1.0, warmup=0.1, lr_over="run")] * 2
    >>> [lr_in_run(stages, [0], [True, True], 0, step, 20, 40) for step in (0, 3, 22)]
    [0.25, 1.0, 0.5]
    >>> [lr_in_run(stages, [0, 20], [False, True], 0, step, 20, 40) for step in (20, 21, 22)]
    [0.2777777777777778, 0.5277777777777778, 0.5]
    """
    stage, here = stages[len(starts) - 1], step - starts[-1]
    if not trained[len(starts) - 1]:
        return 0.0
    if stage.lr_over == "stage" or not total:
        return lr_at(stage, depth, here, length)
    factor = lr_factor(step - starts[0], total, stage.warmup, stage.lr_schedule)
    rise = min(MOST_RAMP, math.ceil(length * stage.warmup))
    if here < rise and is_newly_thawed(starts, trained):
        factor *= (here + 1) / rise
    return stage.lr * stage.layer_decay**depth * factor


def lr_in_search(stage: Stage, depth: int, step: int, here: int, length: int, total: int) -> float:
    """Learning rate of a layer that trains while a depth is searched for, or after that.

    It falls once over the run, whatever is tried: a depth is compared at the rate that the run has
    reached.

    Args:
        stage: the stage.
        depth: number of layers above this one.
        step: optimizer steps since the run began.
        here: optimizer steps since the stage began; it rises over the warm-up's share of it, in 10
            steps at most.
        length: optimizer steps of the stage.
        total: optimizer steps of the run; 0 if nothing limits it.

    >>> stage = Stage(("last:2",), lr=1.0, warmup=0.1)
    >>> [lr_in_search(stage, 0, 50 + here, here, length=20, total=100) for here in (0, 1, 2)]
    [0.25, 0.49, 0.48]
    """
    factor = lr_factor(step, total, 0.0, stage.lr_schedule) if total else 1.0
    rise = min(MOST_RAMP, math.ceil(length * stage.warmup))
    if here < rise:
        factor *= (here + 1) / rise
    return stage.lr * stage.layer_decay**depth * factor


def is_newly_thawed(starts: Sequence[int], trained: Sequence[bool]) -> bool:
    """Whether a layer that trains did not do so in the last optimizer step before its stage.

    A stage without steps counts for nothing, and no layer is newly thawed as the run begins.

    Args:
        starts: step at which each stage so far began; the last of them is running.
        trained: whether the layer trains, by stage.

    >>> is_newly_thawed([0, 20], [False, True]), is_newly_thawed([0, 0], [False, True])
    (True, False)
    >>> is_newly_thawed([0, 20, 20], [True, False, True])
    False
    """
    before = [stage for stage, start in enumerate(starts) if start < starts[-1]]
    return bool(before) and not trained[before[-1]]
