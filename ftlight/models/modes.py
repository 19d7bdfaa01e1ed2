"""Training and eval mode of modules, and whether they are compiled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from torch import nn

from ftlight.models.layers import layer_of
from ftlight.utils import internals


def compiled(task: Any) -> bool:
    """Whether a task runs through torch.compile."""
    return internals.is_compiled(task.modules()) or internals.came_compiled(task)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts all modules into eval mode, and each into its own again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def train_layers(
    model: nn.Module,
    module_layers: Mapping[str, str],
    layers: AbstractSet[str],
    params: AbstractSet[str],
) -> None:
    """Puts some layers of a model into training mode, all others into eval mode.

    A batch norm in which nothing trains is in eval mode, too: it keeps its statistics.

    Args:
        model: the model.
        module_layers: layer of each module, as ``layers.module_layers`` gives it.
        layers: names of the layers that train.
        params: names of the parameters that train.
    """
    for name, module in model.named_modules():
        module.training = layer_of(name, module_layers) in layers
        if isinstance(module, internals.NormBase):
            own = {f"{name}.{parameter}" for parameter, _ in module.named_parameters()}
            module.training = module.training and not own.isdisjoint(params)
