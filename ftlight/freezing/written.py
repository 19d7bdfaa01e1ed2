"""The option ``unfreeze`` as it is written: its words, and the options of a stage.

Nothing here needs torch, so a mistake is found before that is imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from ftlight.utils import ranges
from ftlight.utils.errors import UserError, join_limited, unknown
from ftlight.utils.ranges import Positive, PositiveInt, PositiveShare, Proportion, Share

Shape = Literal["linear", "cosine", "constant"]
Over = Literal["run", "stage"]
WORDS = ("all", "head", "last:N", "lp_ft", "gradual", "auto", "bias", "norm")
DURATIONS = ("epochs", "steps", "fraction")
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
PATTERN = re.compile(
    r"all|head|embeddings|post|norm|bias|(last|first):[1-9]\d*|layer:\d+|layers:\d+-\d+|re:.+"
)


def is_selector(word: str) -> bool:
    """Whether a word has the form of a selector; ``re:`` needs a pattern that compiles.

    >>> [is_selector(word) for word in ("last:2", "last:0", "re:.*bias", "re:(")]
    [True, False, True, False]
    """
    try:
        re.compile(word.removeprefix("re:"))
    except re.error:
        return False
    return PATTERN.fullmatch(word) is not None


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
    if len(stages) > 1 and all(isinstance(stage, str) for stage in stages):
        raise UserError(
            f"model.unfreeze: [{', '.join(stages)}] is a list of words, not of stages; to train"
            f" these together give {{train: [{', '.join(stages)}]}}, or one after another"
            " [{train: head, epochs: 1}, {train: last:2}]"
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
