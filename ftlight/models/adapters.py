"""LoRA and its kin through the peft library: put into the layers of a backbone, and merged into its weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from ftlight.models.layers import layer_of, module_layers
from ftlight.utils.errors import UserError, did_you_mean, join_limited

WORDS: dict[str, dict[str, Any]] = {
    "lora": {"peft_type": "LORA"},
    "dora": {"peft_type": "LORA", "use_dora": True},
    "loha": {"peft_type": "LOHA"},
    "lokr": {"peft_type": "LOKR"},
    "ia3": {"peft_type": "IA3"},
}
NOT_MERGED = (
    "modules_to_save",
    "trainable_token_indices",
)  # whole weights beside adapters: stages train those
OWN_TARGETS = ("IA3", "LN_TUNING")  # peft knows better than "every linear module" what these adapt


def read(option: Any) -> dict[str, Any] | None:
    """Checks the form of ``peft``: a word, or a mapping in peft's own names.

    Raises:
        UserError: peft is not installed, or an option is unknown.
    """
    if option is None:
        return None
    if isinstance(option, str):
        if option not in WORDS:
            raise UserError(
                f"model.peft: no method {option}{did_you_mean(option, WORDS)} (one of {', '.join(WORDS)}; or peft's own options)"
            )
        option = WORDS[option]
    if not isinstance(option, Mapping):
        raise UserError(
            f"model.peft: expected one of {', '.join(WORDS)}, or options such as {{r: 16, lora_alpha: 32}}, got {option!r}"
        )
    known = [f.name for f in dataclasses.fields(_config_class(option))]
    if "target_modules" not in known:
        raise UserError(
            f"model.peft.peft_type: {option['peft_type']} does not go into the layers; use one that does, such as LORA"
        )
    for name in option:
        if name in NOT_MERGED:
            raise UserError(f"model.peft.{name}: not taken; model.unfreeze says what trains whole")
        if name not in known:
            what = (
                f"{option.get('peft_type', 'LORA')} has no {name}{did_you_mean(str(name), known)}"
            )
            raise UserError(f"model.peft.{name}: {what} (options: {join_limited(known, 40)})")
    return dict(option)


def _config_class(option: Mapping[str, Any]) -> Any:
    try:
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    except ImportError:
        raise UserError("model.peft needs the package peft: pip install ftlight[lora]") from None
    kinds = {k.value: v for k, v in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    kind = str(option.get("peft_type", "LORA"))
    if kind not in kinds:
        raise UserError(
            f"model.peft.peft_type: peft has no {kind}{did_you_mean(kind, kinds)} (one of {join_limited(sorted(kinds), 60)})"
        )
    return kinds[kind]


def inject(model: Any, option: Mapping[str, Any]) -> Any:
    """Puts adapters into the layers of a model's backbone; the weights they adapt are fixed from now on (``fixed`` is set on them).

    ``get_peft_model`` would wrap the model and hide its backbone. Without ``target_modules``, every linear module of every
    layer is adapted.

    Raises:
        UserError: the options do not fit the model.
    """
    from peft import inject_adapter_in_model

    options = {k: v for k, v in option.items() if k != "peft_type"}
    base = getattr(model, "base_model", model)
    if "target_modules" not in options and option.get("peft_type", "LORA") not in OWN_TARGETS:
        found = module_layers(base)
        linear = [
            n
            for n, m in base.named_modules()
            if isinstance(m, nn.Linear) or type(m).__name__ == "Conv1D"
        ]
        options["target_modules"] = [n for n in linear if layer_of(n, found).startswith("layer ")]
    try:
        inject_adapter_in_model(_config_class(option)(**options), base)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise UserError(f"model.peft: {' '.join(str(error).split())}") from error
    new = set(
        getattr(model, "new_parameters", ())
    )  # the head's, such as a pooler that was not pre-trained
    for name, parameter in model.named_parameters():
        if name in new:
            parameter.requires_grad_(True)
        elif not parameter.requires_grad:
            parameter.fixed = True
    return model


def merge(model: nn.Module) -> nn.Module:
    """Adds what adapters have learned to the weights they adapt, and takes the adapters out."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    return model


def plain_names(state: Mapping[str, Any], fixed: set[str]) -> dict[str, Any]:
    """The fixed weights of a model with adapters, under the names they have without."""
    return {
        name.replace(".base_layer.", "."): value for name, value in state.items() if name in fixed
    }
