"""The layers of a model, bottom to top, from its structure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from torch import nn

NORM = re.compile(r"norm|^ln(_|$)", re.IGNORECASE)
HEAD = re.compile(
    r"^(classifier|score|head|fc|lm_head)$"
)  # where a model has no backbone of its own (CLIP's vision classifier)
FINAL = re.compile(
    r"final|ln_f|norm_f|pooler"
)  # OPT registers its final norm before its layers, GTE its pooler
DEBERTA = {
    "LayerNorm": "embeddings",
    "conv": "layer 0",
}  # the norm of its table; a convolution after the first layer


class Stack(NamedTuple):
    """A list of layers that run one after the other.

    Attributes:
        name: dotted name of the list inside the backbone.
        layers: names of the modules of each layer: one, or several where a model keeps parallel lists (XLM).
    """

    name: str
    layers: list[list[str]]


def stacks(base: nn.Module) -> list[Stack]:
    """The stacks of a backbone in the order in which they are registered: one, or encoder and decoder.

    The top-most lists of checkpointable layers, which transformers marks; where nothing is marked, the largest list and
    those of its length beside it.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    lists = [(n, m) for n, m in base.named_modules() if isinstance(m, nn.ModuleList) and len(m)]
    marked = [(n, m) for n, m in lists if all(isinstance(c, GradientCheckpointingLayer) for c in m)]
    top = [
        (n, m)
        for n, m in marked or lists
        if not any(n.startswith(f"{o}.") for o, _ in marked or lists)
    ]
    if not top:
        return []
    if marked:
        return [Stack(n, [[f"{n}.{i}"] for i in range(len(m))]) for n, m in top]
    name, largest = max(top, key=lambda item: sum(p.numel() for p in item[1].parameters()))
    beside = [
        n
        for n, m in top
        if len(m) == len(largest) and n.rpartition(".")[0] == name.rpartition(".")[0]
    ]
    return [Stack(name, [[f"{n}.{i}" for n in beside] for i in range(len(largest))])]


def module_layers(model: nn.Module) -> dict[str, str]:
    """The layer of each part of a model: module name (or parameter name) to ``embeddings``, ``layer 0`` …, ``post``, ``head``.

    Parts are found by their longest name. The stack of layers inside the backbone divides what is registered before it
    (embeddings) from what comes after (post); a norm between two stacks belongs to the layer below it. All outside the
    backbone is head, and so is what the pre-trained weights did not hold (``model.new_parameters``). Tables that are
    registered after the layers but read inside them (DeBERTa, MPNet), and dropouts, which may serve both ends (T5,
    XLNet), go with the embeddings.

    Args:
        model: a transformers model with or without a head, or :class:`Pooled`.
    """
    base = getattr(model, "base_model", model)
    root = next(n for n, m in model.named_modules() if m is base)
    prefix = f"{root}." if root else ""
    found = {"": "head", root: "embeddings"}
    depth = 0
    layers: dict[str, int] = {}
    for stack in stacks(base):
        for i, names in enumerate(stack.layers):
            layers |= {prefix + name: depth + i for name in names}
        depth += len(stack.layers)
    last = max(layers.values(), default=-1)

    def visit(name: str, module: nn.Module, below: int) -> int:
        """Places a module's parts; ``below`` is the layer last passed. Returns the one passed now."""
        for child, part in module.named_children():
            full = f"{name}.{child}" if name else child
            if full in layers:
                below = layers[full]
                found[full] = f"layer {below}"
            elif any(n.startswith(f"{full}.") for n in layers):
                found[full] = "embeddings"
                below = visit(full, part, below)
            else:
                found[full] = "head" if HEAD.match(full) else _place(child, part, below, last)
                if child in DEBERTA and hasattr(module, "rel_embeddings"):
                    found[full] = DEBERTA[child]
        return below

    visit(root, base, -1)
    new = set(getattr(model, "new_parameters", ()))
    own = {
        n: {f"{n}.{p}" for p, _ in m.named_parameters(recurse=False)}
        for n, m in model.named_modules()
    }
    return found | dict.fromkeys(
        [*new, *(n for n, names in own.items() if names and names <= new)], "head"
    )


def _place(name: str, part: nn.Module, below: int, last: int) -> str:
    """The layer of a part outside the layers, by what it is and which layer is below it."""
    table = isinstance(part, nn.Embedding) or re.search(r"rel_|relative|embed", name)
    if last < 0 or table or not any(True for _ in part.parameters()):
        return "embeddings"
    if below == last or FINAL.search(name):
        return "post" if below in (-1, last) else f"layer {below}"
    return f"layer {below}" if below >= 0 and NORM.search(name) else "embeddings"


def layer_of(name: str, found: dict[str, str]) -> str:
    """The layer of a module or parameter, by the longest part of its name that has a place."""
    while name not in found:
        name = name.rpartition(".")[0]
    return found[name]


def layer_groups(model: nn.Module) -> dict[str, list[str]]:
    """Parameter names by layer, bottom to top; every parameter is in exactly one, tied ones where they are registered first.

    Args:
        model: a transformers model with or without a head, or :class:`Pooled`.
    """
    found = module_layers(model)
    depth = len({v for v in found.values() if v.startswith("layer ")})
    groups: dict[str, list[str]] = {
        name: [] for name in ["embeddings", *(f"layer {i}" for i in range(depth)), "post", "head"]
    }
    for name, _ in model.named_parameters():
        groups[layer_of(name, found)].append(name)
    return {name: members for name, members in groups.items() if members}


def num_layers(layers: Iterable[str]) -> int:
    """How many of the names are layers of the stack."""
    return sum(name.startswith("layer ") for name in layers)


def norm_parameters(model: nn.Module) -> set[str]:
    """Names of the parameters of normalisation modules (LayerNorm, RMSNorm, BatchNorm, …)."""
    norms = [(n, m) for n, m in model.named_modules() if NORM.search(type(m).__name__)]
    return {f"{n}.{p}" if n else p for n, m in norms for p, _ in m.named_parameters(recurse=False)}
