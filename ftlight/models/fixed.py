"""The weights under adapters: they never train, and no checkpoint holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Set
from typing import Any

import torch
from torch import Tensor, nn

# Keys of a checkpoint that hold weights; the second is that of an average of them.
WEIGHTS = ("state_dict", "current_model_state")


def fixed_weights(module: nn.Module) -> dict[str, Tensor]:
    """The weights that :func:`ftlight.models.adapters.inject` has marked, by name."""
    return {n: p.detach() for n, p in module.named_parameters() if getattr(p, "fixed", False)}


def leave_out(checkpoint: dict[str, Any], names: Set[str]) -> None:
    """Removes weights from a checkpoint that is about to be written."""
    for key in WEIGHTS:
        if key in checkpoint:
            checkpoint[key] = {n: v for n, v in checkpoint[key].items() if n not in names}


def put_back(checkpoint: dict[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Adds weights to a checkpoint that was read: whoever loads it asks for all of them."""
    for key in WEIGHTS:
        if key in checkpoint:
            checkpoint[key] = {**weights, **checkpoint[key]}


def digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of named tensors."""
    sha = hashlib.sha256()
    for name, value in tensors:
        plain = value.detach().cpu().contiguous()
        sha.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        sha.update(plain.view(-1).view(torch.uint8).numpy().data if plain.numel() else b"")
    return sha.hexdigest()
