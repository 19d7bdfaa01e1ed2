"""What the stages of a schedule cost, so that the steps that fit into a time can be planned."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from ftlight.freezing.auto import MISSES, Search, trial_steps
from ftlight.freezing.schedule import epochs_of, frozen_layers, starts
from ftlight.freezing.stages import Stages
from ftlight.models.layers import num_layers
from ftlight.training.plan import Leg

LEAST = 0.05  # units of work of a step that reads all but the head from a store
SOLVING = 1.5  # frozen passes that take as long as one, and solving the head on it


def work(trained: Mapping[str, float], layers: Sequence[str], stored: int = 0) -> float:
    """Units of work of an optimizer step: 1 is a pass forward of all layers.

    Each layer counts alike. A pass back to the inputs of a layer, and one to its weights, cost as
    much as the pass forward; the first stops at the lowest layer that trains.

    Args:
        trained: share of its weights that trains, by layer; layers without any may lack.
        layers: names of all layers, bottom to top.
        stored: number of layers whose output is read from a store.

    >>> layers = ["embeddings", "layer 0", "layer 1", "layer 2", "layer 3", "head"]
    >>> work(dict.fromkeys(layers, 1.0), layers), work({"head": 1.0}, layers)
    (3.0, 1.0)
    >>> work({"layer 3": 1.0, "head": 1.0}, layers), work({"layer 3": 1.0}, layers, stored=3)
    (1.5, 0.75)
    """
    depth = num_layers(layers)
    if not depth:
        return 3.0
    above = depth - frozen_layers({name for name, share in trained.items() if share}, layers)
    weights = sum(share for name, share in trained.items() if name.startswith("layer "))
    return max(LEAST, (depth - stored + above + weights) / depth)


def of_stage(schedule: Stages, stage: int, stored: int | None = None) -> float:
    """Units of work of a step in a stage, as :func:`work` counts them."""
    shares = {}
    for layer, names in schedule.layers.items():
        moving = sum(schedule.numel[n] for n in names if n in schedule.trainable_params[stage])
        shares[layer] = moving / max(1, sum(schedule.numel[name] for name in names))
    return work(shares, list(schedule.layers), stored or 0)


def dearest(schedule: Stages) -> int | None:
    """Number of the stage whose steps take longest; None if no stage has steps."""
    stepped = [i for i, stage in enumerate(schedule.progress.stages) if not stage.solved]
    return max(stepped, key=lambda stage: of_stage(schedule, stage), default=None)


def legs(
    schedule: Stages, total: int, stores: Sequence[int | None], epoch: float, draws: int
) -> list[Leg]:
    """The legs of a run with so many steps, one for each stage.

    Args:
        schedule: the schedule, with the stages that have begun.
        total: optimizer steps.
        stores: number of layers whose output each stage reads from a store, or None.
        epoch: seconds of a pass of all layers forward over training and validation rows.
        draws: random draws of the training rows that epochs take in turn; 0 if rows do not differ.
    """
    progress, depth = schedule.progress, max(1, num_layers(list(schedule.layers)))
    begun = [start - progress.stage_starts[0] for start in progress.stage_starts]
    lengths = progress.nominal(total)
    for stage, (begin, end) in enumerate(itertools.pairwise(begun)):
        lengths[stage] = end - begin
    if progress.is_last:
        lengths[-1] = None
    ends = [min(total, start) for start in [*starts(lengths, total)[1:], total]]
    epochs = epochs_of(lengths, total, max(1, progress.per_epoch))
    found, begin, last = [], 0, None
    for stage, end in enumerate(ends):
        store, before = stores[stage], 0.0
        if progress.stages[stage].solved:
            before = SOLVING * epoch
        elif store is not None and store != last:
            passes = min(draws, max(1, round(epochs[stage]))) if draws else 1
            before = epoch * passes * store / depth
        found.append(Leg(max(0, end - begin), of_stage(schedule, stage, store), before))
        begin, last = max(begin, end), store
    return found


def legs_of_search(
    schedule: Stages, search: Search, total: int, done: int, epoch: float, unit: float
) -> list[Leg]:
    """The legs of a run that searches for a depth: what is done, and the rest.

    Until the depth is found, a step counts as the mean of those of all depths, and the least
    number of steps that the search takes back comes on top.

    Args:
        schedule: the schedule.
        search: where the search stands.
        total: optimizer steps of the run, without those that are taken back.
        done: those that it has taken.
        epoch: seconds of a pass of all layers forward over training and validation rows.
        unit: seconds of a unit of work.
    """
    if search.over:
        rest = of_stage(schedule, schedule.stage, schedule.stores[schedule.stage])
        return [Leg(done, rest), Leg(max(0, total - done), rest)]
    depths = [of_stage(schedule, stage) for stage in range(search.start + 1, search.count)]
    mean = sum(depths) / max(1, len(depths)) or 1.0
    back = (MISSES - search.misses) * trial_steps(schedule.progress.per_epoch) * mean * unit
    solving = SOLVING * epoch if search.scores is None and search.start else 0.0
    return [Leg(done, mean), Leg(max(0, total - done), mean, back + solving)]
