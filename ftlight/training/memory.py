"""What to do where a device has not enough memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ftlight.utils.errors import UserError

SIGNS = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "can't allocate memory",
    "not enough memory",
)
SMALLER = ("batch_size", "tokens_per_batch", "max_length", "image_size")
TRAINING = (
    "trainer.accumulate_grad_batches with a smaller batch",
    "trainer.precision: bf16-mixed",
    "model.peft: lora",
    "model.unfreeze",
)


def is_lack(error: BaseException) -> bool:
    """Whether an error says that there is no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(s in str(error) for s in SIGNS)
    )


def size(batch: Mapping[str, Any]) -> str:
    """The size of a batch in words.

    >>> size({"inputs": {"input_ids": torch.zeros(8, 64)}})
    '8 rows x 64 tokens'
    >>> size({"inputs": {"pixel_values": torch.zeros(8, 3, 32, 48)}})
    '8 images of 32 x 48 pixels'
    """
    inputs = batch.get("inputs", batch)
    shapes = (
        [tuple(v.shape) for v in inputs.values() if isinstance(v, Tensor)]
        if isinstance(inputs, Mapping)
        else []
    )
    shape = max(shapes, key=len, default=())
    if len(shape) == 4:
        return f"{shape[0]} images of {shape[2]} x {shape[3]} pixels"
    return (
        f"{shape[0]} rows x {shape[1]} tokens"
        if len(shape) == 2
        else f"{len(batch.get('index', ()))} rows"
    )


def words(said: str, options: Sequence[str], trains: bool) -> str:
    """What is wrong, and the ways out.

    Args:
        said: size of the batch, or nothing.
        options: names of the data's options.
        trains: whether it was in training.
    """
    smaller = [f"data.{o}" for o in SMALLER if o in options]
    ways = [
        f"lower {' or '.join(smaller or ['the rows of a batch'])}",
        *(TRAINING if trains else ()),
    ]
    return f"not enough memory{said and f' for a batch of {said}'}; ways out: {', '.join(ways)}"


@contextlib.contextmanager
def explained(say: Callable[[], str]) -> Iterator[None]:
    """Turns a lack of memory into a line with the ways out.

    Args:
        say: gives that line.

    Raises:
        UserError: there is no memory left.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_lack(error):
            raise
        raise UserError(say()) from error
