"""Selectors of a stage (``last:2``, ``-embeddings``, ``re:…``) and the parameters they match."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from ftlight.models.layers import num_layers
from ftlight.utils.errors import UserError


def select(
    selectors: Sequence[str],
    layers: Mapping[str, Sequence[str]],
    norms: AbstractSet[str],
    where: str,
) -> set[str]:
    """Parameters that selectors match; the head is included unless ``-head`` excludes it.

    Args:
        selectors: as in ``train``; a leading ``-`` excludes.
        layers: names of trainable parameters by layer, bottom to top.
        norms: names of the parameters of normalization layers.
        where: the option, for errors.

    Raises:
        UserError: a selector matches nothing, or nothing is left to train.

    >>> layers = {"layer 0": ["a"], "layer 1": ["b"], "head": ["h"]}
    >>> sorted(select(["last:1"], layers, set(), "model.unfreeze"))
    ['b', 'h']
    """
    chosen: set[str] = set()
    for selector in sorted(selectors, key=lambda s: s.startswith("-")):  # exclusions come last
        matched = _match(selector.removeprefix("-"), layers, norms)
        if not matched:
            others = ", ".join(name for name in layers if not name.startswith("layer "))
            raise UserError(
                f"{where}: {selector} matches nothing;"
                f" the model has {_count_layers(num_layers(layers))} and {others}"
            )
        chosen = chosen - matched if selector.startswith("-") else chosen | matched
    if "-head" not in selectors:
        chosen |= set(layers.get("head", ()))
    if not chosen:
        raise UserError(f"{where}: [{', '.join(selectors)}] leaves nothing to train")
    return chosen


def _count_layers(count: int) -> str:
    if count > 1:
        return f"{count} layers (layer:0 to layer:{count - 1})"
    return f"{count or 'no'} layer"


def _match(selector: str, layers: Mapping[str, Sequence[str]], norms: AbstractSet[str]) -> set[str]:
    """Parameters that one selector matches; none if it asks for layers that do not exist."""
    names = {name for members in layers.values() for name in members}
    kind, _, argument = selector.partition(":")
    if kind == "all":
        return names
    if kind == "re":
        return {name for name in names if re.fullmatch(argument, name)}
    if kind == "bias":
        return {name for name in names if name.endswith("bias")}
    if kind == "norm":
        return names & norms
    if kind in ("head", "embeddings", "post"):
        return set(layers.get(kind, ()))
    return {name for layer in _matched_layers(kind, argument, layers) for name in layers[layer]}


def _matched_layers(kind: str, argument: str, layers: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Layers of ``last:N``, ``first:N``, ``layer:I`` and ``layers:I-J``."""
    stack = [name for name in layers if name.startswith("layer ")]
    if kind in ("last", "first"):
        count = int(argument)
        if count > len(stack):
            return []
        if kind == "first":
            return stack[:count]
        return [*stack[-count:], *(["post"] if "post" in layers else [])]
    low, _, high = argument.partition("-")
    wanted = [f"layer {i}" for i in range(int(low), int(high or low) + 1)]
    return wanted if set(wanted) <= set(stack) else []
