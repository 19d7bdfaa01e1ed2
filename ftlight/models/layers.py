"""The layers of a model, bottom to top, found from its structure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import nn

NORM = re.compile(r"norm|^ln(_|$)", re.IGNORECASE)
# Heads of models that have no backbone of their own, such as CLIP's vision classifier.
HEAD = re.compile(r"^(classifier|score|head|fc|lm_head)$")
# Parts that follow the layers even if registered before them: OPT's final norm, GTE's pooler.
FINAL = re.compile(r"final|ln_f|norm_f|pooler")
# DeBERTa's norm of the table of positions, and its convolution after the first layer.
DEBERTA = {"LayerNorm": "embeddings", "conv": "layer 0"}


class Stack(NamedTuple):
    """A list of layers that run one after the other.

    Attributes:
        name: dotted name of the list inside the backbone.
        layers: names of the modules of each layer: one, or several if a model keeps parallel
            lists (XLM).
    """

    name: str
    layers: list[list[str]]


def stacks(base: nn.Module) -> list[Stack]:
    """The stacks of a backbone, in the order in which they are registered.

    These are its outermost lists of layers that transformers marks for checkpointing: one, or
    encoder and decoder. If none is marked, the largest list with those of its length beside it.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    lists = {n: m for n, m in base.named_modules() if isinstance(m, nn.ModuleList) and len(m)}
    marked = {
        name: layers
        for name, layers in lists.items()
        if all(isinstance(layer, GradientCheckpointingLayer) for layer in layers)
    }
    outermost = _outermost(marked or lists)
    if marked:
        return [Stack(n, [[f"{n}.{i}"] for i in range(len(m))]) for n, m in outermost.items()]
    if not outermost:
        return []
    name = max(outermost, key=lambda n: sum(p.numel() for p in outermost[n].parameters()))
    depth, parent = len(outermost[name]), name.rpartition(".")[0]
    beside = [n for n, m in outermost.items() if (len(m), n.rpartition(".")[0]) == (depth, parent)]
    return [Stack(name, [[f"{n}.{i}" for n in beside] for i in range(depth)])]


def _outermost(lists: Mapping[str, nn.ModuleList]) -> dict[str, nn.ModuleList]:
    """The lists that are not inside another."""
    return {
        name: layers
        for name, layers in lists.items()
        if not any(name.startswith(f"{other}.") for other in lists)
    }


def module_layers(model: nn.Module) -> dict[str, str]:
    """The layer of each part of a model: ``embeddings``, ``layer 0`` …, ``post`` or ``head``.

    The stack of layers divides what the backbone registers before it (embeddings) from what
    comes after (post). A norm between two stacks belongs to the layer below it. Whatever is
    outside the backbone is head, and so is what the pre-trained weights did not hold
    (``model.new_parameters``). Tables that are registered after the layers but read inside them
    (DeBERTa, MPNet) are embeddings, and so are dropouts, which may serve both ends (T5, XLNet).

    Args:
        model: a transformers model with or without a head, or :class:`Pooled`.

    Returns:
        Names of modules, and of parameters if they differ from their module, to layers. A part
        that is not listed is in the layer of the module around it: see :func:`layer_of`.
    """
    base = getattr(model, "base_model", model)
    root = next(n for n, m in model.named_modules() if m is base)
    layers = _layer_numbers(base, f"{root}." if root else "")
    last = max(layers.values(), default=-1)
    found = {"": "head", root: "embeddings"}

    def visit(name: str, module: nn.Module, below: int) -> int:
        """Places a module's parts; ``below`` is the layer last passed. Returns the one now."""
        for child, part in module.named_children():
            full = f"{name}.{child}" if name else child
            if full in layers:
                below = layers[full]
                found[full] = f"layer {below}"
            elif any(n.startswith(f"{full}.") for n in layers):
                found[full] = "embeddings"
                below = visit(full, part, below)
            elif child in DEBERTA and hasattr(module, "rel_embeddings"):
                found[full] = DEBERTA[child]
            else:
                found[full] = "head" if HEAD.match(full) else _place(child, part, below, last)
        return below

    visit(root, base, -1)
    return found | dict.fromkeys(_new_parts(model), "head")


def _layer_numbers(base: nn.Module, prefix: str) -> dict[str, int]:
    """Names of the modules of layers to the number of their layer, over all stacks."""
    numbers: dict[str, int] = {}
    depth = 0
    for stack in stacks(base):
        for i, names in enumerate(stack.layers):
            numbers |= {prefix + name: depth + i for name in names}
        depth += len(stack.layers)
    return numbers


def _place(name: str, part: nn.Module, below: int, last: int) -> str:
    """The layer of a part outside the layers.

    Args:
        name: its name within its parent.
        part: the part.
        below: number of the layer registered before it, or -1.
        last: number of the last layer, or -1.
    """
    is_table = isinstance(part, nn.Embedding) or re.search(r"rel_|relative|embed", name)
    if last < 0 or is_table or not any(True for _ in part.parameters()):
        return "embeddings"
    if below == last or FINAL.search(name):
        return "post" if below in (-1, last) else f"layer {below}"
    return f"layer {below}" if below >= 0 and NORM.search(name) else "embeddings"


def _new_parts(model: nn.Module) -> set[str]:
    """Parameters that were not pre-trained, and modules all of whose own parameters were not."""
    new = set(getattr(model, "new_parameters", ()))
    modules = set()
    for name, module in model.named_modules():
        own = {f"{name}.{parameter}" for parameter, _ in module.named_parameters(recurse=False)}
        if own and own <= new:
            modules.add(name)
    return new | modules


def layer_of(name: str, layers: Mapping[str, str]) -> str:
    """The layer of a module or parameter: that of the longest part of its name that has one.

    >>> layer_of("encoder.1.bias", {"": "head", "encoder": "embeddings", "encoder.1": "layer 1"})
    'layer 1'
    """
    while name not in layers:
        name = name.rpartition(".")[0]
    return layers[name]


def layer_groups(model: nn.Module) -> dict[str, list[str]]:
    """Parameter names by layer, bottom to top.

    Every parameter is in exactly one layer; a tied one in that where it is registered first.

    Args:
        model: a transformers model with or without a head, or :class:`Pooled`.
    """
    layers = module_layers(model)
    depth = num_layers(set(layers.values()))
    order = ["embeddings", *(f"layer {i}" for i in range(depth)), "post", "head"]
    groups: dict[str, list[str]] = {layer: [] for layer in order}
    for name, _ in model.named_parameters():
        groups[layer_of(name, layers)].append(name)
    return {layer: members for layer, members in groups.items() if members}


def num_layers(layers: Iterable[str]) -> int:
    """How many of the names are layers of the stack.

    >>> num_layers(["embeddings", "layer 0", "layer 1", "head"])
    2
    """
    return sum(name.startswith("layer ") for name in layers)


def norm_parameters(model: nn.Module) -> set[str]:
    """Names of the parameters of normalization layers (LayerNorm, RMSNorm, BatchNorm, …)."""
    names = set()
    for prefix, module in model.named_modules():
        if NORM.search(type(module).__name__):
            own = (parameter for parameter, _ in module.named_parameters(recurse=False))
            names |= {f"{prefix}.{parameter}" if prefix else parameter for parameter in own}
    return names
