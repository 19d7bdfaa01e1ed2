"""Whether weights are finite numbers: one look for those that are loaded and those to be saved."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@torch.no_grad()
def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """The name of the first tensor with a number that is nan or infinite; empty if there is none.

    A sum is such if any number is, and many times as fast as a look at each; it may overflow, so
    only then are the numbers looked at. The device is waited for once.

    Args:
        tensors: names with tensors, all on one device; others than floats are left out.

    >>> inf = float("inf")
    >>> not_finite([("a", torch.full([2], 3e38)), ("b", torch.tensor([1, inf, -inf]))])
    'b'
    """
    named = [(name, tensor) for name, tensor in tensors if tensor.dtype in FLOATS]
    if not named:
        return ""
    sums = torch.stack([tensor.sum().double() for _, tensor in named]).isfinite().tolist()
    suspects = [pair for pair, is_finite in zip(named, sums, strict=True) if not is_finite]
    return next((name for name, tensor in suspects if not tensor.isfinite().all()), "")
