"""Windows of rows in a model: run a few at a time, and put together to one value a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

WindowPooling = Literal["mean", "max"]
T = TypeVar("T")


def in_parts(
    run: Callable[[dict[str, Tensor]], T], inputs: Mapping[str, Tensor], most: int, trains: bool
) -> list[T]:
    """Runs windows ``most`` at a time.

    Training runs each part again for its gradients, so that memory stays that of one part, however
    many windows there are (Chen et al. 2016, arXiv:1604.06174).

    Args:
        run: runs a part of the inputs.
        inputs: inputs of a model, ``[windows, …]`` each.
        most: windows that fit.
        trains: whether gradients are wanted.

    Returns:
        What ``run`` gives, by part.
    """
    windows = len(next(iter(inputs.values())))
    if windows <= most:
        return [run(dict(inputs))]
    starts = range(0, windows, most)
    parts = [{name: v[i : i + most] for name, v in inputs.items()} for i in starts]
    if trains and torch.is_grad_enabled():
        return [checkpoint(run, part, use_reentrant=False) for part in parts]
    return [run(part) for part in parts]


def pooled(values: Tensor, counts: Tensor, how: WindowPooling) -> Tensor:
    """One value a row of those of its windows.

    Args:
        values: ``[windows, …]``, those of a row after each other.
        counts: windows of each row, ``int64 [rows]``.
        how: the mean of the windows, or the largest.

    Returns:
        ``[rows, …]``.

    >>> pooled(torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([2, 1]), "mean")
    tensor([[2.],
            [9.]])
    """
    rows = torch.arange(len(counts), device=values.device).repeat_interleave(counts)
    rows = rows.view(-1, *[1] * (values.ndim - 1)).expand_as(values)
    return values.new_zeros(len(counts), *values.shape[1:]).scatter_reduce(
        0, rows, values, f"a{how}" if how == "max" else how, include_self=False
    )
