"""The layers of a model, bottom to top, from its structure."""

from __future__ import annotations

from torch import nn


def layer_stack(model: nn.Module) -> tuple[str, nn.ModuleList] | None:
    """The stack of layers: the top-most list of checkpointable layers, else the largest list; None where there is none."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    lists = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)]
    marked = [(n, m) for n, m in lists if all(isinstance(c, GradientCheckpointingLayer) for c in m)]
    found = [(n, m) for n, m in marked or lists if not any(n.startswith(f"{o}.") for o, _ in marked or lists)]
    return max(found, key=lambda item: sum(p.numel() for p in item[1].parameters()), default=None)


def layer_groups(model: nn.Module) -> dict[str, list[str]]:
    """Parameter names by depth, bottom to top: embeddings, layer 0 … layer L-1, post, head.

    From structure, not from names: the stack of layers inside the backbone divides what is registered before it
    (embeddings) from what comes after it (post); all outside the backbone, and a pooler, is head. Every parameter is in
    exactly one group; tied ones stand where they are registered first.

    Args:
        model: a transformers model with or without a head, or :class:`Pooled`.
    """
    base = getattr(model, "base_model", model)
    inside = {id(p) for n, p in base.named_parameters() if "pooler" not in n.split(".")}
    stack = layer_stack(base)
    layers = {id(p): f"layer {i}" for i, layer in enumerate(stack[1]) for p in layer.parameters()} if stack else {}
    order = ["embeddings", *(f"layer {i}" for i in range(len(stack[1]) if stack else 0)), "post", "head"]
    groups: dict[str, list[str]] = {name: [] for name in order}
    passed = False
    for name, parameter in model.named_parameters():
        if id(parameter) not in inside:
            groups["head"].append(name)
        elif id(parameter) in layers:
            passed = True
            groups[layers[id(parameter)]].append(name)
        else:
            groups["post" if passed else "embeddings"].append(name)
    return {name: members for name, members in groups.items() if members}
