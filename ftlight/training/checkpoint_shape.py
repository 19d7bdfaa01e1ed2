"""One line for a checkpoint that is intact, but not shaped as the ones that ftlight writes.

Such a file was changed by hand, or written by another program. Whatever reads a part of it does so
inside of :func:`restoring`; what would fail only later, in training, is compared first.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ftlight.utils.errors import UserError, first_line, shortened

# What Python raises for a value of another kind than was expected.
MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


@contextlib.contextmanager
def restoring(path: str | Path | None) -> Iterator[None]:
    """Turns what a misshapen checkpoint makes its readers raise into one line.

    Args:
        path: the checkpoint, for the message.

    Raises:
        UserError: something inside raised one of :data:`MISFITS`, or torch refused a tensor.
    """
    try:
        yield
    except MISFITS as error:
        raise misshapen(path, f"{type(error).__name__}: {first_line(error)}") from error
    except RuntimeError as error:
        # of a group of processes it may as well be another one that has ended
        if isinstance(error, torch.OutOfMemoryError) or dist.is_initialized():
            raise
        raise misshapen(path, first_line(error)) from error


def misshapen(path: str | Path | None, why: str) -> UserError:
    """The error for a checkpoint that is not shaped as ours."""
    return UserError(
        f"{path} is not a checkpoint as ftlight writes it, or was changed since"
        f" ({shortened(why, 200)}); resume from another one with --ckpt_path FILE,"
        " or start anew in another --run DIR"
    )


def unlike(found: Any, own: Any, place: str, sound: bool = False) -> str:
    """Where a value is of another kind than one that is known to be right.

    Args:
        found: the value; a mapping may lack keys, and have others.
        own: the right one. None is like anything, and so is what has another class than these.
        place: name of the value, for the result.
        sound: whether numbers must also be finite if the right ones are, and whole ones not below
            0, as counts are. Callbacks count as they like: early stopping from -1.

    Returns:
        The first difference; empty if there is none.

    >>> unlike({"done": "7", "more": 1}, {"done": 7, "ready": 7}, "batches")
    'batches.done is str instead of int'
    >>> unlike({"done": 8}, {"done": 7, "ready": 7}, "batches")
    ''
    """
    kinds: Any = type(own)
    if isinstance(own, Mapping):
        kinds = Mapping
    elif isinstance(own, (list, tuple)):
        kinds = (list, tuple)
    elif isinstance(own, float):
        kinds = (int, float)
    elif not isinstance(own, (bool, int, str, torch.Tensor)):
        return ""
    if isinstance(found, torch.Tensor) and not isinstance(own, (Mapping, list, tuple, str)):
        return ""  # a number may as well be a tensor
    is_other = not isinstance(found, kinds)
    is_other = is_other or (isinstance(found, bool) and not isinstance(own, bool))
    if is_other:
        return f"{place} is {type(found).__name__} instead of {type(own).__name__}"
    if sound and isinstance(own, int) and own >= 0 > found:
        return f"{place} is {found}"
    if sound and isinstance(own, float) and not math.isfinite(found) and math.isfinite(own):
        return f"{place} is {found}"
    pairs: list[tuple[Any, Any, str]] = []
    if isinstance(own, Mapping):
        pairs = [(found[k], v, f"{place}.{k}") for k, v in own.items() if k in found]
    elif isinstance(own, (list, tuple)) and own:  # a longer one has more of the first kind
        right = [*own, *[own[0]] * (len(found) - len(own))]
        pairs = [
            (a, b, f"{place}[{i}]") for i, (a, b) in enumerate(zip(found, right, strict=False))
        ]
    return next(filter(None, (unlike(*pair, sound) for pair in pairs)), "")


def moments_fault(optimizer: Any) -> str:
    """What is wrong with the state that an optimizer was given; empty if nothing is seen.

    The means of gradients that Adam keeps must be there for all parameters that have any state, and
    of the size of these. Other optimizers keep what they like.
    """
    if not isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
        return ""
    for group in optimizer.param_groups:
        means = ["exp_avg", "exp_avg_sq", *["max_exp_avg_sq"] * bool(group.get("amsgrad"))]
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            kept = [name for name in means if name in state]
            if state and kept != means:
                return "optimizer_states: a mean of gradients is missing"
            for name in kept:
                if state[name].shape != parameter.shape:
                    return f"optimizer_states: {name} is of another size than its parameter"
    return ""
