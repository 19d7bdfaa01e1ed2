"""The share of dropout in a config, and masks that are cheap on a CPU."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

# Not those that skip whole layers or paths (layerdrop, drop_path_rate).
SHARE = re.compile(r"(^|_)(drop(out)?|[a-z]*pdrop)(_(prob|rate|p))?$")
DRAWS = 1 << 16  # a mask is drawn with 16 bits a number, so a share is exact to 1/65536


def changed(config: Mapping[str, Any], share: float) -> dict[str, Any]:
    """The entries of a config that are shares of dropout, with another share; nested ones too.

    Those that are null follow another one of the config.

    >>> changed({"hidden_dropout_prob": 0.1, "classifier_dropout": None, "hidden_size": 8}, 0.2)
    {'hidden_dropout_prob': 0.2}
    >>> changed({"drop_path_rate": 0.1, "vision_config": {"attention_dropout": 0, "depth": 2}}, 0.2)
    {'vision_config': {'attention_dropout': 0.2, 'depth': 2}}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):  # others map labels, one of which may be called dropout
            inside = changed(value, share) if str(key).endswith("config") else {}
            found |= {key: {**value, **inside}} if inside else {}
        elif (
            SHARE.search(str(key))
            and isinstance(value, (int, float))
            and not isinstance(value, bool)
        ):
            found[key] = share
    return found


def dropout_mask(
    shape: torch.Size, share: float, dtype: torch.dtype, generator: torch.Generator | None = None
) -> Tensor:
    """Draws a mask of ones with a share of zeros, on the CPU.

    Makes four numbers of each 64 random bits, and compares them straight into the mask: a fifth
    of the time of ``bernoulli_``.

    Args:
        shape: shape of the mask.
        share: share of zeros, above 0 and below 1.
        dtype: type of the mask.
        generator: source of random numbers. Default: torch's own.
    """
    count = shape.numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64)
    bits.random_(-(2**63), None, generator=generator)
    numbers = bits.view(torch.int16)[:count].view(shape)
    threshold = round(share * DRAWS) - DRAWS // 2
    return torch.ge(numbers, threshold, out=torch.empty(shape, dtype=dtype))


def drawable(share: float) -> bool:
    """Whether 16 bits can draw a share.

    >>> drawable(0.1), drawable(0.0), drawable(1e-9)
    (True, False, False)
    """
    return 0 < round(share * DRAWS) < DRAWS


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:
        mask = dropout_mask(x.shape, share, x.dtype)
        ctx.save_for_backward(mask)
        ctx.scale = 1 / (1 - share)
        return (x * mask).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return (grad * ctx.saved_tensors[0]).mul_(ctx.scale), None


class Dropout(nn.Dropout):
    """``nn.Dropout`` with cheap masks on a CPU; a seed gives other numbers than torch's."""

    def forward(self, x: Tensor) -> Tensor:
        """Drops values at random in training."""
        ours = self.training and x.is_cpu and x.is_floating_point() and drawable(self.p)
        if not ours or torch.compiler.is_compiling():
            return super().forward(x)
        return _Dropped.apply(x, self.p)  # type: ignore[no-untyped-call]
