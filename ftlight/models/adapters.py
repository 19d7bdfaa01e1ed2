"""LoRA and its kin, through the peft library: put into a backbone's layers, and merged again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ftlight.models.layers import layer_of, module_layers
from ftlight.utils import ranges
from ftlight.utils.errors import UserError, did_you_mean, join_limited, unknown
from ftlight.utils.ranges import Fraction, Positive, PositiveInt

WORDS: dict[str, dict[str, Any]] = {
    "lora": {"peft_type": "LORA"},
    "dora": {"peft_type": "LORA", "use_dora": True},
    "loha": {"peft_type": "LOHA"},
    "lokr": {"peft_type": "LOKR"},
    "ia3": {"peft_type": "IA3"},
}
# Options for whole weights beside adapters, which cannot be merged: stages train those.
NOT_MERGED = ("modules_to_save", "trainable_token_indices")
# Kinds for which peft knows better than "every linear module" what they adapt.
OWN_TARGETS = ("IA3", "LN_TUNING")
# Those of peft's numbers that it checks late, or not at all.
NUMBERS: dict[str, Any] = {
    "r": PositiveInt,
    "lora_alpha": Positive,
    "alpha": Positive,
    "lora_dropout": Fraction,
    "rank_dropout": Fraction,
    "module_dropout": Fraction,
}

# What people call options of peft, whose names differ by the kind of adapter.
ALSO = {
    "rank": ("r",),
    "lora_r": ("r",),
    "lora_rank": ("r",),
    "alpha": ("lora_alpha",),
    "lora_alpha": ("alpha",),
    "dropout": ("lora_dropout", "module_dropout"),
    "targets": ("target_modules",),
}


def read(option: Any) -> dict[str, Any] | None:
    """Checks the form of ``peft``.

    Args:
        option: a word, a mapping in peft's own names, or None.

    Raises:
        UserError: peft is not installed, an option is unknown, or a number out of its range.
    """
    if option is None:
        return None
    if isinstance(option, str):
        if option not in WORDS:
            fault = unknown("model.peft: no method", option, WORDS, "methods")
            raise UserError(f"{fault}; or give peft's own options")
        option = WORDS[option]
    if not isinstance(option, Mapping):
        raise UserError(
            f"model.peft: expected one of {', '.join(WORDS)},"
            f" or options such as {{r: 16, lora_alpha: 32}}, got {option!r}"
        )
    known = [f.name for f in dataclasses.fields(_config_class(option))]
    kind = option.get("peft_type", "LORA")
    if "target_modules" not in known:
        raise UserError(
            f"model.peft.peft_type: {kind} does not go into the layers;"
            " use one that does, such as LORA"
        )
    for name in option:
        if name in NOT_MERGED:
            raise UserError(
                f"model.peft.{name}: not supported; model.unfreeze says what trains whole"
            )
        if name not in known:
            raise UserError(_no_option(name, kind, known))
        wrong = ranges.fault(NUMBERS[name], option[name]) if name in NUMBERS else ""
        if wrong:
            raise UserError(f"model.peft.{name}: {wrong}")
    return dict(option)


def _no_option(name: str, kind: str, known: Sequence[str]) -> str:
    """The message for an option that peft does not have for a kind of adapter."""
    usual = [n for n in (*NUMBERS, "target_modules", "layers_to_transform") if n in known]
    meant = [n for n in ALSO.get(name, ()) if n in known]
    nearest = f'; did you mean "{meant[0]}"?' if meant else did_you_mean(name, known)
    rest = f" and {len(known) - len(usual)} more of peft's"
    listed = f"(options: {join_limited(usual, 20)}{rest})"
    return f"model.peft.{name}: {kind} has no {name}{nearest} {listed}"


def _config_class(option: Mapping[str, Any]) -> Any:
    try:
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    except ImportError:
        raise UserError("model.peft needs the package peft: pip install ftlight[lora]") from None
    kinds = {k.value: v for k, v in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    kind = str(option.get("peft_type", "LORA"))
    if kind not in kinds:
        what = "model.peft.peft_type: peft has no"
        raise UserError(unknown(what, kind, sorted(kinds), "kinds", most=60))
    return kinds[kind]


def inject(model: Any, option: Mapping[str, Any]) -> Any:
    """Puts adapters into the layers of a model's backbone.

    The weights they adapt never train from now on (their attribute ``fixed`` is true). Without
    ``target_modules``, every linear module of every layer is adapted. ``get_peft_model`` would
    wrap the model and hide its backbone.

    Args:
        model: the model, changed in place.
        option: as returned by :func:`read`.

    Raises:
        UserError: the options do not fit the model.
    """
    from peft import inject_adapter_in_model

    options = {k: v for k, v in option.items() if k != "peft_type"}
    base = getattr(model, "base_model", model)
    if "target_modules" not in options and option.get("peft_type", "LORA") not in OWN_TARGETS:
        options["target_modules"] = _linear_modules(base)
    try:
        inject_adapter_in_model(_config_class(option)(**options), base)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise UserError(f"model.peft: {' '.join(str(error).split())}") from error
    new = set(getattr(model, "new_parameters", ()))  # not pre-trained: they train with the head
    for name, parameter in model.named_parameters():
        if name in new:
            parameter.requires_grad_(True)
        elif not parameter.requires_grad:
            parameter.fixed = True
    return model


def _linear_modules(base: nn.Module) -> list[str]:
    """Names of the linear modules inside layers."""
    layers = module_layers(base)
    return [
        name
        for name, module in base.named_modules()
        if (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D")
        and layer_of(name, layers).startswith("layer ")
    ]


def merge(model: nn.Module) -> nn.Module:
    """Adds what adapters have learned to the weights they adapt, and removes the adapters."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    return model


def plain_names(state: Mapping[str, Any], fixed: set[str]) -> dict[str, Any]:
    """The fixed weights of a model with adapters, under the names they have without.

    Args:
        state: weights by name.
        fixed: names of those that never train.

    >>> plain_names({"layer.base_layer.weight": 1, "layer.lora_A": 2}, {"layer.base_layer.weight"})
    {'layer.weight': 1}
    """
    return {
        name.replace(".base_layer.", "."): value for name, value in state.items() if name in fixed
    }
