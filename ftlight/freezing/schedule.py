"""Freezing schedules as plain values: what an option says, which parameters it selects, which rate a step has."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from ftlight.models.layers import num_layers
from ftlight.utils.errors import UserError, did_you_mean, join_limited

Shape = Literal["linear", "cosine", "constant"]
WORDS = ("all", "head", "last:N", "lp_ft", "gradual", "bias", "norm")
SELECTORS = (
    "all",
    "head",
    "embeddings",
    "post",
    "norm",
    "bias",
    "last:N",
    "first:N",
    "layer:I",
    "layers:I-J",
    "re:REGEX",
)
FORM = re.compile(
    r"all|head|embeddings|post|norm|bias|(last|first):[1-9]\d*|layer:\d+|layers:\d+-\d+|re:.+"
)
DURATIONS = ("epochs", "steps", "fraction")
HEAD_LR, FEW = (
    1e-2,
    10,
)  # a linear head alone on frozen features; the largest factor where little of the backbone trains
PROBE, THAW = (
    0.4,
    0.5,
)  # share of the run before everything trains: lp_ft's head stage, gradual's stages together


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a schedule: what trains, for how long, at which rate.

    Attributes:
        train: selectors of what trains.
        epochs: duration in epochs.
        steps: duration in optimizer steps.
        fraction: duration as a share of the run's steps.
        patience: validations without a better value that end the stage early.
        monitor: the value that patience is about.
        lr: learning rate of the top-most layer.
        layer_decay: factor on the rate from each layer to the one below it.
        warmup: share of the stage in which the rate rises.
        lr_schedule: how the rate falls after that; flat in a stage with patience, whose end is not known.
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

    def __str__(self) -> str:
        """The stage as it could be written in YAML, without what is not set."""
        given = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        given["train"] = self.train[0] if len(self.train) == 1 else f"[{', '.join(self.train)}]"
        return (
            "{"
            + ", ".join(
                f"{k}: {v:.3g}" if isinstance(v, float) else f"{k}: {v}" for k, v in given.items()
            )
            + "}"
        )

    def length(self, per_epoch: float, total: int) -> int | None:
        """Optimizer steps of the stage, or the most of them; None where nothing but patience or the run ends it."""
        if self.epochs is not None:
            return max(1, round(self.epochs * per_epoch))
        return self.steps if self.fraction is None else math.floor(self.fraction * total + 1e-9)


# What an option says


def read(option: Any) -> str | list[dict[str, Any]]:
    """Checks the form of ``unfreeze``: one word, or a list of stages with ``train`` as a list of selectors.

    Raises:
        UserError: with a line per fault.
    """
    if isinstance(option, str):
        if option in ("lp_ft", "gradual") or _is_selector(option):
            return option
        raise UserError(
            f"model.unfreeze: no schedule {option}{did_you_mean(option, WORDS)} (one of {join_limited(WORDS, 20)}; or a list of stages)"
        )
    stages = [option] if isinstance(option, Mapping) else option
    if not isinstance(stages, (list, tuple)) or not stages:
        raise UserError(
            f"model.unfreeze: expected a word ({join_limited(WORDS, 20)}) or a list of stages, got {option!r}"
        )
    faults = [
        fault for i, stage in enumerate(stages) for fault in _faults(stage, i, i == len(stages) - 1)
    ]
    shares = sum(s.get("fraction") or 0 for s in stages) if not faults else 0
    if shares >= 1 - 1e-9:
        faults = [
            f"model.unfreeze: the fractions add up to {shares:g}, which leaves nothing for the last stage"
        ]
    if faults:
        raise UserError("\n".join(faults))
    return [
        {**s, "train": tuple([s["train"]] if isinstance(s["train"], str) else s["train"])}
        for s in stages
    ]


def _is_selector(word: str) -> bool:
    try:
        return bool(FORM.fullmatch(word)) and re.compile(word.removeprefix("re:")) is not None
    except re.error:  # re:… that is not a pattern
        return False


def _number(value: Any, low: float, high: float = math.inf, whole: bool = False) -> bool:
    kinds: Any = int if whole else (int, float)
    return (
        isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= min(high, 1e15)
    )


CHECKS: dict[str, tuple[Any, str]] = {
    "epochs": (lambda v: _number(v, 1e-9), "a number of epochs above 0"),
    "steps": (lambda v: _number(v, 1, whole=True), "a whole number of optimizer steps, 1 or more"),
    "fraction": (
        lambda v: _number(v, 1e-9, 1 - 1e-9),
        "a share of the run between 0 and 1, for example 0.2",
    ),
    "patience": (lambda v: _number(v, 1, whole=True), "a whole number of validations, 1 or more"),
    "monitor": (lambda v: isinstance(v, str), "the name of a logged value, such as val/loss"),
    "lr": (lambda v: _number(v, 1e-15), "a rate above 0, for example 1e-4"),
    "layer_decay": (
        lambda v: _number(v, 1e-9, 1),
        "a factor above 0 and at most 1, for example 0.9",
    ),
    "warmup": (lambda v: _number(v, 0, 1), "a share of the stage from 0 to 1, for example 0.1"),
    "lr_schedule": (lambda v: v in get_args(Shape), f"one of {', '.join(get_args(Shape))}"),
}


def _faults(stage: Any, number: int, last: bool) -> list[str]:
    """What is wrong with the form of a stage."""
    where = f"model.unfreeze.{number}"
    if not isinstance(stage, Mapping):
        return [f"{where}: expected a stage such as {{train: last:2, epochs: 2}}, got {stage!r}"]
    known = ("train", *CHECKS)
    found = [
        f"{where}.{k}: a stage has no {k}{did_you_mean(str(k), known)} (options: {join_limited(known, 20)})"
        for k in stage
        if k not in known
    ]
    train = stage.get("train")
    selectors = [train] if isinstance(train, str) else train
    if not isinstance(selectors, (list, tuple)) or not selectors:
        found.append(
            f"{where}.train: say what trains: one or a list of {join_limited(SELECTORS, 20)}, -… to take away"
        )
    else:
        wrong = [
            s for s in selectors if not isinstance(s, str) or not _is_selector(s.removeprefix("-"))
        ]
        if not wrong and all(s.startswith("-") for s in selectors):
            found.append(
                f"{where}.train: only takes away; say from what, for example [all, {', '.join(selectors)}]"
            )
        found += [
            f"{where}.train: no selector {s}{did_you_mean(str(s).removeprefix('-'), SELECTORS)} ({join_limited(SELECTORS, 20)})"
            for s in wrong
        ]
    found += [
        f"{where}.{k}: expected {words}, got {stage[k]!r}"
        for k, (check, words) in CHECKS.items()
        if k in stage and stage[k] is not None and not check(stage[k])
    ]
    durations = [k for k in DURATIONS if stage.get(k) is not None]
    if len(durations) > 1:
        found.append(f"{where}: {' and '.join(durations)} are given; keep one")
    if last and (durations or stage.get("patience") is not None):
        what = [*durations, *(["patience"] if stage.get("patience") is not None else [])][0]
        found.append(
            f"{where}.{what}: the last stage goes on to the end of the run (trainer.max_epochs, trainer.patience); take it out"
        )
    if not last and not durations and stage.get("patience") is None:
        found.append(
            f"{where}: how long? give epochs, steps, fraction or patience; only the last stage goes without"
        )
    if stage.get("monitor") is not None and stage.get("patience") is None:
        found.append(f"{where}.monitor: is for patience, which is not given")
    return found


def expand(word: str, layers: Sequence[str]) -> list[dict[str, Any]]:
    """The stages of one word.

    ``lp_ft`` is linear probing, then fine-tuning (Kumar et al. 2022, arXiv:2202.10054); ``gradual`` thaws from the top
    (Howard and Ruder 2018, arXiv:1801.06146), in at most four steps; ``bias`` is BitFit (Ben Zaken et al. 2022, arXiv:2106.10199).

    Raises:
        UserError: a head alone is asked for and the model has none of its own.
    """
    tied = "head" not in layers
    if word in ("head", "lp_ft") and tied:
        raise UserError(
            f"model.unfreeze: {word} is not to be had: the head of this model is tied to its embeddings; use last:1"
        )
    if word == "lp_ft":
        return [{"train": ("head",), "fraction": PROBE, "lr": HEAD_LR}, {"train": ("all",)}]
    if word != "gradual":
        return [{"train": (word,)}]
    depth = num_layers(layers)
    few = max(1, -(-depth // 4))
    counts = [1] * (tied and depth > 0) + [n for n in range(few, depth, few) if n > tied]
    first: list[dict[str, Any]] = [] if tied else [{"train": ("head",), "lr": HEAD_LR}]
    thawed = [*first, *({"train": (f"last:{n}",)} for n in counts)]
    return [*({**stage, "fraction": THAW / len(thawed)} for stage in thawed), {"train": ("all",)}]


# What a stage selects


def select(
    selectors: Sequence[str],
    layers: Mapping[str, Sequence[str]],
    norms: frozenset[str] | set[str],
    where: str,
) -> set[str]:
    """Names of the parameters that selectors name; the head is among them unless ``-head`` is said.

    Args:
        selectors: as in ``train``.
        layers: names of the parameters that can train, by layer, bottom to top.
        norms: names of the parameters of norms.
        where: the option, for an error.

    Raises:
        UserError: a selector matches nothing; lists the layers.
    """
    chosen: set[str] = set()
    for selector in sorted(selectors, key=lambda s: s.startswith("-")):
        found = _match(selector.removeprefix("-"), layers, norms)
        if not found:
            depth = num_layers(layers)
            rest = [name for name in layers if not name.startswith("layer ")]
            raise UserError(
                f"{where}: {selector} matches nothing; the model has {_layers(depth)} and {', '.join(rest)}"
            )
        chosen = chosen - found if selector.startswith("-") else chosen | found
    if "-head" not in selectors:
        chosen |= set(layers.get("head", ()))
    if not chosen:
        raise UserError(f"{where}: [{', '.join(selectors)}] leaves nothing to train")
    return chosen


def _layers(depth: int) -> str:
    return (
        f"{depth} layers (layer:0 to layer:{depth - 1})" if depth > 1 else f"{depth or 'no'} layer"
    )


def _match(
    selector: str, layers: Mapping[str, Sequence[str]], norms: frozenset[str] | set[str]
) -> set[str]:
    names = {name for members in layers.values() for name in members}
    stack = [name for name in layers if name.startswith("layer ")]
    kind, _, what = selector.partition(":")
    if kind == "all":
        return names
    if kind == "re":
        return {name for name in names if re.fullmatch(what, name)}
    if kind == "bias":
        return {name for name in names if name.endswith("bias")}
    if kind == "norm":
        return names & norms
    if kind in ("head", "embeddings", "post"):
        return set(layers.get(kind, ()))
    if kind in ("last", "first") and int(what) > len(stack):
        return set()
    if kind == "last":
        wanted = [*stack[-int(what) :], "post"]
    elif kind == "first":
        wanted = stack[: int(what)]
    else:
        low, _, high = what.partition("-")
        wanted = [f"layer {i}" for i in range(int(low), int(high or low) + 1)]
        if not set(wanted) <= set(stack):
            return set()
    return {name for layer in wanted for name in layers.get(layer, ())}


def default_rate(
    chosen: set[str], layers: Mapping[str, Sequence[str]], numel: Mapping[str, int], lr: float
) -> float:
    """The rate of a stage that names none: a head's own for a head alone, else the whole model's, higher the less of it trains.

    The fewer weights move, the further each may: times the share of the backbone that stands still, ten times at most.

    Args:
        chosen: names of what trains.
        layers: names of parameters by layer.
        numel: numbers in each parameter.
        lr: rate of the whole model.
    """
    body = {name for layer, members in layers.items() if layer != "head" for name in members}
    moving = sum(numel[name] for name in chosen & body)
    return lr * min(FEW, sum(numel[name] for name in body) / moving) if moving else HEAD_LR


# Which rate a step has


def lr_factor(step: int, total: int, warmup: float, form: Shape) -> float:
    """The factor on every learning rate at an optimizer step.

    Args:
        step: number of the step, from 0.
        total: steps of the stage.
        warmup: share of the steps in which the factor rises to 1.
        form: how it falls to 0 after that.

    >>> [lr_factor(s, 10, 0.2, "linear") for s in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.125]
    """
    rise = math.ceil(total * warmup)
    if step < rise:
        return (step + 1) / rise
    if form == "constant":
        return 1.0
    left = max(0.0, (total - step) / max(1, total - rise))
    return left if form == "linear" else 0.5 * (1 - math.cos(math.pi * left))


def lr_at(stage: Stage, depth: int, step: int, length: int) -> float:
    """Learning rate of a layer at a step of a stage.

    Args:
        stage: the stage.
        depth: layers above this one.
        step: optimizer steps since the stage began.
        length: optimizer steps of the stage (the most, or an epoch's, where patience ends it).
    """
    form: Shape = "constant" if stage.patience is not None else stage.lr_schedule
    return stage.lr * stage.layer_decay**depth * lr_factor(step, length, stage.warmup, form)


def starts(lengths: Sequence[int | None], total: int) -> list[int]:
    """The first step of each stage, if none ends early; a stage of unknown length is taken for what is left, shared equally."""
    known = sum(n for n in lengths[:-1] if n is not None)
    open_ended = sum(n is None for n in lengths)
    share = max(0, total - known) // max(1, open_ended)
    found, at = [], 0
    for length in lengths:
        found.append(at)
        at += share if length is None else length
    return found
