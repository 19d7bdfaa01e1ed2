"""The option ``unfreeze``, resolved to stages of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.freezing.auto import depths
from ftlight.freezing.schedule import HEAD_LR, Stage, default_lr
from ftlight.freezing.selection import select
from ftlight.freezing.written import is_solved
from ftlight.models.layers import num_layers
from ftlight.utils.errors import UserError

# Shares of the run before everything trains: the head's stage of lp_ft, all such stages of gradual.
PROBE_SHARE = 0.4
THAW_SHARE = 0.5


def expand(word: str, layers: Sequence[str], solves: bool = False) -> list[dict[str, Any]]:
    """The stages that a word stands for.

    The first stage of ``lp_ft`` and ``gradual`` steps the head: what follows learns less from a
    solved one, whose loss on train is nearly 0 (scripts/bench/README.md).

    ``lp_ft`` is linear probing, then fine-tuning (Kumar et al. 2022, arXiv:2202.10054).
    ``gradual`` thaws from the top in at most four steps (Howard and Ruder 2018, arXiv:1801.06146).
    ``auto`` is the head, solved and then stepped, and the depths to try
    (:mod:`ftlight.freezing.auto`).
    ``bias`` is BitFit (Ben Zaken et al. 2022, arXiv:2106.10199).

    Args:
        word: as returned by :func:`~ftlight.freezing.written.read_unfreeze`.
        layers: names of the model's layers.
        solves: whether the head is solved.

    Raises:
        UserError: the word is about the head, and the model has none of its own.

    >>> for stage in expand("gradual", ["embeddings", "layer 0", "layer 1", "layer 2", "head"]):
    ...     print(*stage["train"], stage.get("fraction"))
    head 0.16666666666666666
    last:1 0.16666666666666666
    last:2 0.16666666666666666
    all None
    >>> expand("auto", ["layer 0", "head"], solves=True)
    [{'train': ('head',)}, {'train': ('head',), 'lr': 0.01}, {'train': ('last:1',)}]
    """
    tied = "head" not in layers
    if word in ("head", "lp_ft") and tied:
        raise UserError(
            f"model.unfreeze: {word}: this model has no separate head"
            " (it is tied to the embeddings); use last:1"
        )
    if word == "lp_ft":
        probe = {"train": ("head",), "fraction": PROBE_SHARE, "lr": HEAD_LR}
        return [probe, {"train": ("all",)}]
    if word == "auto":
        first: list[dict[str, Any]] = [] if tied else [{"train": ("head",), "lr": HEAD_LR}]
        if solves and first:
            first.insert(0, {"train": ("head",)})
        return [*first, *({"train": (depth,)} for depth in depths(layers))]
    if word != "gradual":
        return [{"train": (word,)}]
    depth = num_layers(layers)
    quarter = max(1, -(-depth // 4))
    counts = [n for n in range(quarter, depth, quarter) if n > tied]
    thawed: list[dict[str, Any]] = [{"train": (f"last:{n}",)} for n in counts]
    if tied and depth:
        thawed.insert(0, {"train": ("last:1",)})
    elif not tied:
        thawed.insert(0, {"train": ("head",), "lr": HEAD_LR})
    share = THAW_SHARE / max(1, len(thawed))
    return [*({**stage, "fraction": share} for stage in thawed), {"train": ("all",)}]


def stepped(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Stages with a duration for a head that was to be solved: its share of what others leave.

    >>> stepped([{"train": ("head",)}, {"train": ("all",)}])
    [{'train': ('head',), 'fraction': 0.4}, {'train': ('all',)}]
    """
    left = 1 - sum(stage.get("fraction") or 0 for stage in stages)
    short = [stage for stage in stages[:-1] if is_solved(stage)]
    share = PROBE_SHARE * left / max(1, len(short))
    return [{**stage, "fraction": share} if stage in short else stage for stage in stages]


class Parameters(NamedTuple):
    """The parameters of a model as a schedule sees them, by name.

    Attributes:
        layers: names by layer, bottom to top.
        sizes: numbers in each.
        norms: those of normalization layers.
        eligible: those that may train; the others never do.
    """

    layers: Mapping[str, Sequence[str]]
    sizes: Mapping[str, int]
    norms: set[str]
    eligible: set[str]


def resolve(
    option: str | list[dict[str, Any]],
    parameters: Parameters,
    defaults: Mapping[str, Any],
    *,
    lr: float,
    lr_given: bool,
    monitor: str,
    solves: bool = False,
) -> tuple[list[Stage], list[set[str]]]:
    """The stages of a schedule, and the names of the parameters that train in each.

    A stage with a ``warmup`` or ``lr_schedule`` of its own rises and falls over its own steps,
    unless its ``lr_over`` says otherwise.

    Args:
        option: as returned by :func:`~ftlight.freezing.written.read_unfreeze`.
        parameters: those of the model.
        defaults: options of stages that do not set them.
        lr: learning rate of the whole model.
        lr_given: whether the user set ``lr``.
        monitor: value that patience watches, unless a stage sets another.
        solves: whether a stage of the head alone is solved.

    Raises:
        UserError: a selector matches nothing, or the model has no head of its own.
    """
    layers = {}
    for layer, names in parameters.layers.items():
        if members := [name for name in names if name in parameters.eligible]:
            layers[layer] = members
    head = set(parameters.layers.get("head", ()))
    if isinstance(option, list):
        written = option if solves else stepped(option)
    else:
        written = expand(option, list(parameters.layers), solves)
    stages, trainable_params = [], []
    for i, settings in enumerate(written):
        where = f"model.unfreeze.{i}.train" if isinstance(option, list) else "model.unfreeze"
        trainable = select(settings["train"], layers, parameters.norms, where)
        rate = default_lr(trainable, parameters.layers, parameters.sizes, lr)
        # A rate for the whole model is not meant for a head that has a stage of its own.
        if lr_given and (len(written) == 1 or not trainable <= head):
            rate = lr
        own = {key: value for key, value in settings.items() if value is not None}
        options = {"lr": rate, **defaults}
        if not own.keys().isdisjoint(("warmup", "lr_schedule")):
            options["lr_over"] = "stage"
        options |= own
        if options.get("patience") is not None:
            options.setdefault("monitor", monitor)
        stages.append(Stage(**options, solved=solves and is_solved(settings)))
        trainable_params.append(trainable)
    return stages, trainable_params
