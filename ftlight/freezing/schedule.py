"""Freezing schedules as plain values: stages, their durations, and their default rates."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from ftlight.freezing.written import Over as Over
from ftlight.freezing.written import Shape as Shape
from ftlight.models.layers import num_layers
from ftlight.utils.errors import UserError

HEAD_LR = 1e-2  # of a linear head alone, on frozen features
MOST_RAISED = 10  # largest factor on the rate if little of the backbone trains


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a schedule: what trains, for how long, at which learning rate.

    Attributes:
        train: selectors of the parameters that train.
        epochs: duration in epochs.
        steps: duration in optimizer steps.
        fraction: duration as a share of the run's steps.
        patience: validations without improvement that end the stage early.
        monitor: the logged value that patience watches.
        lr: learning rate of the top layer.
        layer_decay: factor on the rate from each layer to the one below it.
        warmup: share of the steps in which the rate rises.
        lr_schedule: how the rate falls after warm-up.
        lr_over: the steps over which it rises and falls: those of the run or of the stage. Over a
            stage with patience it does not fall, since its end is not known.
        solved: whether the head is solved instead of stepped: the stage then has no steps.
    """

    train: tuple[str, ...]
    epochs: float | None = None
    steps: int | None = None
    fraction: float | None = None
    patience: int | None = None
    monitor: str | None = None
    lr: float = 0.0
    layer_decay: float = 1.0
    warmup: float = 0.0
    lr_schedule: Shape = "linear"
    lr_over: Over = "stage"  # also in checkpoints of 0.1, which do not say it
    solved: bool = False

    def __str__(self) -> str:
        """The stage as YAML, without what is not set.

        >>> print(Stage(("head", "norm"), lr=1e-3))  # doctest: +NORMALIZE_WHITESPACE
        {train: [head, norm], lr: 0.001, layer_decay: 1, warmup: 0, lr_schedule: linear,
        lr_over: stage}
        >>> print(Stage(("head",), solved=True))
        {train: head}
        """
        options = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        del options["solved"]
        if self.solved:
            options = {}
        options["train"] = self.train[0] if len(self.train) == 1 else f"[{', '.join(self.train)}]"
        words = [
            f"{name}: {value:.3g}" if isinstance(value, float) else f"{name}: {value}"
            for name, value in options.items()
        ]
        return f"{{{', '.join(words)}}}"

    def length(self, per_epoch: float, total: int) -> int | None:
        """The most optimizer steps of the stage; None if only patience or the run ends it.

        Args:
            per_epoch: optimizer steps of an epoch.
            total: optimizer steps of the run.

        >>> Stage(("head",), fraction=0.2).length(per_epoch=10, total=100)
        20
        """
        if self.solved:
            return 0
        if self.epochs is not None:
            return max(1, round(self.epochs * per_epoch))
        return self.steps if self.fraction is None else math.floor(self.fraction * total + 1e-9)


# Durations


def starts(lengths: Sequence[int | None], total: int) -> list[int]:
    """The first step of each stage if none ends early.

    Args:
        lengths: steps of each stage; stages without share equally what the others leave.
        total: steps of the run.

    >>> starts([20, None, None], 100)
    [0, 20, 60]
    """
    known = sum(n for n in lengths[:-1] if n is not None)
    share = max(0, total - known) // max(1, sum(n is None for n in lengths))
    first_steps, step = [], 0
    for length in lengths:
        first_steps.append(step)
        step += share if length is None else length
    return first_steps


def epochs_of(lengths: Sequence[int | None], total: int, per_epoch: float) -> list[float]:
    """The most epochs of each stage; one without a length may take what is left of the run.

    Args:
        lengths: steps of each stage.
        total: steps of the run.
        per_epoch: steps of an epoch.

    >>> epochs_of([20, None, None], 100, per_epoch=10)
    [2.0, 8.0, 8.0]
    """
    left, epochs = float(total), []
    for length in lengths:
        steps = left if length is None else min(float(length), left)
        epochs.append(steps / per_epoch)
        if length is not None:
            left -= steps
    return epochs


def check_durations(
    stages: Sequence[Stage], per_epoch: float, total: int, fits: bool = True
) -> None:
    """Checks that the run's length is known if it must be, and that the stages fit into it.

    Args:
        stages: those of the schedule.
        per_epoch: optimizer steps of an epoch.
        total: optimizer steps of the run; 0 if nothing limits it.
        fits: whether something must be left for the last stage.

    Raises:
        UserError: nothing is left for the last stage, or the run's length is not known.
    """
    last = stages[-1]
    if not total and last.lr_schedule != "constant" and not last.solved:
        raise UserError(
            f"model.lr_schedule: {last.lr_schedule} needs trainer.max_epochs or max_steps;"
            " or set it to constant"
        )
    if not total and any(stage.fraction for stage in stages):
        raise UserError(
            "model.unfreeze: a fraction of the run needs trainer.max_epochs or max_steps;"
            " or give epochs or steps"
        )
    lengths = [s.length(per_epoch, total) for s in stages[:-1] if s.patience is None]
    known = sum(length or 0 for length in lengths)
    has_lengths = any(stage.epochs or stage.steps for stage in stages)
    if fits and has_lengths and 0 < total <= known:
        raise UserError(
            f"model.unfreeze: the first {len(stages) - 1} stages take {known} of the run's"
            f" {total} optimizer steps; nothing is left for the last: raise trainer.max_epochs"
            " or shorten the stages"
        )


# Layers


def frozen_layers(trainable: AbstractSet[str], layers: Sequence[str]) -> int:
    """How many layers of the stack lie below the lowest that trains.

    Args:
        trainable: names of layers that train.
        layers: names of all layers, bottom to top.

    >>> frozen_layers({"layer 2", "head"}, ["embeddings", "layer 0", "layer 1", "layer 2", "head"])
    2
    >>> frozen_layers({"head"}, ["embeddings", "layer 0", "layer 1", "layer 2", "head"])
    3
    """
    depth = num_layers(layers)
    lowest = next(layer for layer in layers if layer in trainable)
    special = {"embeddings": 0, "post": depth - 1, "head": depth}
    return special[lowest] if lowest in special else int(lowest.removeprefix("layer "))


# Learning rates


def default_lr(
    trainable: AbstractSet[str],
    layers: Mapping[str, Sequence[str]],
    sizes: Mapping[str, int],
    lr: float,
) -> float:
    """The learning rate of a stage that sets none.

    A head alone has a rate of its own. Otherwise the fewer weights of the backbone train, the
    further each may move: the rate is divided by their share, up to ten times higher.

    Args:
        trainable: names of the parameters that train.
        layers: names of parameters by layer.
        sizes: numbers in each parameter.
        lr: learning rate of the whole model.

    >>> layers, sizes = {"layer 0": ["a"], "layer 1": ["b"]}, {"a": 300, "b": 100}
    >>> default_lr({"b"}, layers, sizes, lr=1.0)
    4.0
    """
    body = {name for layer, members in layers.items() if layer != "head" for name in members}
    moving = sum(sizes[name] for name in trainable & body)
    if not moving:
        return HEAD_LR
    return lr * min(MOST_RAISED, sum(sizes[name] for name in body) / moving)


# Patience


def is_better(value: float, best: float | None, lower: bool) -> bool:
    """Whether a value improves on the best so far; nan never does.

    Args:
        value: the new value.
        best: the best so far, or None.
        lower: whether lower is better.

    >>> is_better(0.5, None, lower=False), is_better(0.5, 0.4, lower=True)
    (True, False)
    """
    if math.isnan(value) or best is None:
        return not math.isnan(value)
    return value < best if lower else value > best
