"""A copy of what trains, so that steps can be taken back: weights, buffers, optimizer state."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Copy(TypedDict):
    """Copies in the CPU's memory, by the names of parameters and buffers; fit for a checkpoint."""

    weights: dict[str, Tensor]
    buffers: dict[str, Tensor]
    states: dict[str, dict[str, Tensor]]


def take(model: nn.Module, names: Collection[str], optimizer: Optimizer) -> Copy:
    """Copies what training some parameters changes.

    Args:
        model: the model.
        names: names of the parameters.
        optimizer: the optimizer; a parameter that it has no state of has an empty one.
    """
    copy: Copy = {"weights": {}, "buffers": {}, "states": {}}
    for name, parameter in model.named_parameters():
        if name in names:
            state = optimizer.state.get(parameter, {})
            copy["weights"][name] = _copied(parameter)
            copy["states"][name] = {key: _copied(value) for key, value in state.items()}
    for name, buffer in model.named_buffers():
        copy["buffers"][name] = _copied(buffer)
    return copy


def _copied(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True)


@torch.no_grad()
def put_back(copy: Copy, model: nn.Module, optimizer: Optimizer) -> None:
    """Puts a copy in the place of what was trained since; state that was not there is cleared."""
    for name, parameter in model.named_parameters():
        if name not in copy["weights"]:
            continue
        parameter.copy_(copy["weights"][name])
        if not copy["states"][name]:
            optimizer.state.pop(parameter, None)
        # in place: a state may share its memory with the weights
        for key, value in copy["states"][name].items():
            optimizer.state[parameter][key].copy_(value)
    for name, buffer in model.named_buffers():
        if name in copy["buffers"]:
            buffer.copy_(copy["buffers"][name])
