"""The scale of a regression's targets: learned standardised, given back in their own units.

With raw targets a head learns only if their spread is near 1: the optimizer moves each weight by
about the learning rate in a step, however far away the target is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ftlight.models.layers import layer_of, module_layers
from ftlight.models.modes import evaluating

CLOSE = 1e-4  # of the spread: how well a model with a shifted norm must agree


class Scale(NamedTuple):
    """Mean and standard deviation of targets, in their units."""

    mean: float = 0.0
    sd: float = 1.0

    def values(self, outputs: Tensor) -> Tensor:
        """Outputs of a model in the targets' units, ``float64``; ``float32`` on Apple's GPUs.

        Near a million float32 has steps of 1/16, which would round a small spread away.

        >>> Scale(1e9, 0.5).values(torch.tensor([1.0])).tolist()
        [1000000000.5]
        """
        wide = torch.float32 if outputs.device.type == "mps" else torch.float64
        return outputs.to(wide) * self.sd + self.mean


def scale_of(targets: Sequence[float]) -> Scale:
    """Mean and standard deviation of the training targets; of equal ones the latter is 1.

    >>> scale_of([97e3, 903e3]), scale_of([0.1, 0.1, 0.1])
    (Scale(mean=500000.0, sd=403000.0), Scale(mean=0.1, sd=1.0))
    """
    values = np.asarray(targets, dtype=np.float64)
    first = float(values[0])
    if (values == first).all():  # their mean may differ from them in the last digit
        return Scale(first, 1.0)
    return Scale(first + float((values - first).mean()), float((values - first).std()))


def bits(targets: Sequence[float]) -> Tensor:
    """Targets as the bits of float64, ``int64 [rows]``: no precision of training rounds them."""
    return torch.tensor(targets, dtype=torch.float64).view(torch.int64)


def exact(targets: Tensor, as_bits: Tensor | None) -> Tensor:
    """Targets in float64 if their bits are known and the device has that type."""
    if as_bits is None or as_bits.device.type == "mps":
        return targets
    return as_bits.view(torch.float64)


# Folding it into a model


def output_layers(model: nn.Module, outputs: int = 1) -> list[nn.Linear]:
    """The linear layers of the head that give the outputs; several if a model averages two heads.

    Args:
        model: the model.
        outputs: how many numbers it gives per row.
    """
    layers = module_layers(model)
    single = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == outputs
    ]
    in_head = [module for name, module in single if layer_of(name, layers) == "head"]
    return in_head or [module for _, module in single[-1:]]


@torch.no_grad()
def fold(model: nn.Module, scale: Scale) -> float:
    """Puts a scale into the last layer, so that the model itself gives values in its units.

    The head of most decoders has no bias that could take the mean. The bias of the norm before it
    takes it, if there is one: only the head reads what that norm gives.

    Returns:
        What is still to be added to the model's output: 0 unless neither has a bias.
    """
    heads = output_layers(model)
    for head in heads:
        head.weight.mul_(scale.sd)
        if head.bias is not None:
            head.bias.copy_(head.bias.double() * scale.sd + scale.mean)
    if scale.mean == 0 or all(head.bias is not None for head in heads):
        return 0.0
    norm = _last_norm(model, heads[0].in_features)
    if norm is None:
        return scale.mean
    probe = torch.arange(8)[None] % int(model.config.get_text_config().vocab_size)  # type: ignore[union-attr, operator]
    with evaluating(model):
        before, kept = model(input_ids=probe).logits, norm.bias.clone()
        weight = heads[0].weight[0].double()
        norm.bias.add_(scale.mean * weight / weight.square().sum())
        after = model(input_ids=probe).logits
    error = (after.double() - before.double() - scale.mean).abs().max().item()
    if error <= CLOSE * max(scale.sd, abs(scale.mean)):
        return 0.0
    norm.bias.copy_(kept)
    return scale.mean


@torch.no_grad()
def fold_temperature(
    model: Any, temperature: float, outputs: int, inputs: Mapping[str, Tensor]
) -> bool:
    """Divides the last layer by a temperature: the model itself then gives calibrated logits.

    Args:
        model: the model.
        temperature: what its logits are to be divided by.
        outputs: how many logits it gives per row.
        inputs: what the model takes, to try it on.

    Returns:
        Whether it did: it is undone if the logits are not these, as of a head that does more.
    """
    heads = output_layers(model, outputs)
    kept = [parameter.clone() for head in heads for parameter in head.parameters()]
    with evaluating(model):
        wanted = model(**inputs).logits / temperature
        for head in heads:
            for parameter in head.parameters():
                parameter.div_(temperature)
        found = model(**inputs).logits
    if heads and torch.allclose(found, wanted, rtol=1e-4, atol=CLOSE * float(wanted.abs().max())):
        return True
    for head in heads:
        for parameter in head.parameters():
            parameter.copy_(kept.pop(0))
    return False


def _last_norm(model: nn.Module, width: int) -> Any:
    """The norm after the last layer, if it has a bias; None if there is no such norm."""
    layers = module_layers(model)
    norms = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm) and layer_of(name, layers) == "post"
    ]
    norms = [norm for norm in norms if norm.bias is not None and norm.normalized_shape == (width,)]
    return norms[-1] if norms else None
