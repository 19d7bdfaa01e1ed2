"""The option ``unfreeze``: checks what is written, and resolves it to stages of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

from ftlight.freezing.auto import depths
from ftlight.freezing.schedule import HEAD_LR, Over, Shape, Stage, default_lr
from ftlight.freezing.selection import SELECTORS, is_selector, select
from ftlight.models.layers import num_layers
from ftlight.utils import ranges
from ftlight.utils.errors import UserError, join_limited, unknown
from ftlight.utils.ranges import Positive, PositiveInt, PositiveShare, Proportion, Share

WORDS = ("all", "head", "last:N", "lp_ft", "gradual", "auto", "bias", "norm")
DURATIONS = ("epochs", "steps", "fraction")
# Shares of the run before everything trains: the head's stage of lp_ft, all such stages of gradual.
PROBE_SHARE = 0.4
THAW_SHARE = 0.5


def read_unfreeze(option: Any, solves: bool = True) -> str | list[dict[str, Any]]:
    """Checks the form of ``unfreeze``.

    Args:
        option: a word, a stage as a mapping, or a list of stages.
        solves: whether a head may be solved: ``{train: head}`` then needs no duration.

    Returns:
        The word, or the stages with ``train`` as a tuple of selectors.

    Raises:
        UserError: with one line per fault.
    """
    if isinstance(option, str):
        if option in ("lp_ft", "gradual", "auto") or is_selector(option):
            return option
        fault = unknown("model.unfreeze: no schedule", option, WORDS, "one of")
        raise UserError(f"{fault}; or give a list of stages")
    stages = [option] if isinstance(option, Mapping) else option
    if not isinstance(stages, (list, tuple)) or not stages:
        raise UserError(
            f"model.unfreeze: expected a word ({join_limited(WORDS, 20)})"
            f" or a list of stages, got {option!r}"
        )
    faults: list[str] = []
    for i, stage in enumerate(stages):
        place = f"model.unfreeze.{i}"
        faults += _stage_faults(stage, place, is_last=i == len(stages) - 1, solves=solves)
    shares = sum(s.get("fraction") or 0 for s in stages) if not faults else 0
    if shares >= 1 - 1e-9:
        faults.append(
            f"model.unfreeze: the fractions add up to {shares:g},"
            " which leaves nothing for the last stage"
        )
    if faults:
        raise UserError("\n".join(faults))
    return [{**stage, "train": tuple(_as_list(stage["train"]))} for stage in stages]


def _as_list(train: Any) -> Any:
    return [train] if isinstance(train, str) else train


def is_solved(stage: Mapping[str, Any]) -> bool:
    """Whether a stage is the head and nothing else: with a duration or rate it is stepped.

    >>> is_solved({"train": "head"}), is_solved({"train": "head", "epochs": 2})
    (True, False)
    """
    given = {name: value for name, value in stage.items() if value is not None}
    return given in ({"train": "head"}, {"train": ["head"]}, {"train": ("head",)})


def _stage_faults(stage: Any, where: str, is_last: bool, solves: bool) -> list[str]:
    """What is wrong with the form of a stage; a head that is solved needs no duration."""
    if not isinstance(stage, Mapping):
        return [f"{where}: expected a stage such as {{train: last:2, epochs: 2}}, got {stage!r}"]
    known = ("train", *CHECKS)
    faults = [
        unknown(f"{where}.{key}: a stage has no", key, known, "options")
        for key in stage
        if key not in known
    ]
    faults += _selector_faults(_as_list(stage.get("train")), f"{where}.train")
    for key, (kind, expected) in CHECKS.items():
        value = stage.get(key)
        if value is not None and not _is_of(kind, value):
            faults.append(f"{where}.{key}: expected {expected}, got {value!r}")
    if solves and is_solved(stage):
        return faults
    return faults + _duration_faults(stage, where, is_last)


def _selector_faults(selectors: Any, where: str) -> list[str]:
    if not isinstance(selectors, (list, tuple)) or not selectors:
        known = join_limited(SELECTORS, 20)
        return [f"{where}: give a selector or a list of them: {known}; a leading - excludes"]
    wrong = [s for s in selectors if not isinstance(s, str) or not is_selector(s.removeprefix("-"))]
    if wrong:
        return [unknown(f"{where}: no selector", s, SELECTORS, "selectors") for s in wrong]
    if all(s.startswith("-") for s in selectors):
        example = f"[all, {', '.join(selectors)}]"
        return [f"{where}: only excludes; say from what, for example {example}"]
    return []


def _duration_faults(stage: Mapping[Any, Any], where: str, is_last: bool) -> list[str]:
    durations = [k for k in DURATIONS if stage.get(k) is not None]
    has_patience = stage.get("patience") is not None
    ends = [*durations, *(["patience"] if has_patience else [])]
    faults = []
    if len(durations) > 1:
        faults.append(f"{where}: {' and '.join(durations)} are given; keep one")
    if is_last and ends:
        faults.append(
            f"{where}.{ends[0]}: the last stage lasts to the end of the run"
            " (trainer.max_epochs, trainer.patience); remove it"
        )
    if not is_last and not ends:
        faults.append(
            f"{where}: no duration; give epochs, steps, fraction or patience"
            " (only the last stage needs none)"
        )
    if stage.get("monitor") is not None and not has_patience:
        faults.append(f"{where}.monitor: only patience uses it; add patience or remove it")
    return faults


# Option of a stage to its type, or a check, and the words for what it expects.
CHECKS: dict[str, tuple[Any, str]] = {
    "epochs": (Positive, "a number of epochs above 0"),
    "steps": (PositiveInt, "a whole number of optimizer steps, 1 or more"),
    "fraction": (Proportion, "a share of the run between 0 and 1, for example 0.2"),
    "patience": (PositiveInt, "a whole number of validations, 1 or more"),
    "monitor": (str, "the name of a logged value, such as val/loss"),
    "lr": (Positive, "a rate above 0, for example 1e-4"),
    "layer_decay": (PositiveShare, "a factor above 0 and at most 1, for example 0.9"),
    "warmup": (Share, "a share of the stage from 0 to 1, for example 0.1"),
    "lr_schedule": (Shape, f"one of {', '.join(get_args(Shape))}"),
    "lr_over": (Over, "run or stage"),
}


def _is_of(kind: Any, value: Any) -> bool:
    """Whether a value is of a type of :data:`CHECKS`."""
    if kind is str:
        return isinstance(value, str)
    return value in get_args(kind) if kind in (Shape, Over) else not ranges.fault(kind, value)


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
        word: as returned by :func:`read_unfreeze`.
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
        option: as returned by :func:`read_unfreeze`.
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
