"""One line of advice if a device runs out of memory."""

from __future__ import annotations

import contextlib
import sys
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
    """Whether an error, or the one that it was raised from, says that no memory is left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS):
        return True
    return error.__cause__ is not None and is_lack(error.__cause__)


def peak(device: torch.device) -> int:
    """The most bytes that this process held so far: of a GPU its own, else of memory.

    0 if the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def size(batch: Mapping[str, Any]) -> str:
    """The size of a batch in words.

    >>> size({"inputs": {"input_ids": torch.zeros(8, 64)}})
    '8 rows x 64 tokens'
    >>> size({"inputs": {"pixel_values": torch.zeros(8, 3, 32, 48)}})
    '8 images of 32 x 48 pixels'
    """
    inputs = batch.get("inputs", batch)
    tensors = list(inputs.values()) if isinstance(inputs, Mapping) else []
    shapes = [tuple(t.shape) for t in tensors if isinstance(t, Tensor)]
    shape = max(shapes, key=len, default=())
    if len(shape) == 4:
        return f"{shape[0]} images of {shape[2]} x {shape[3]} pixels"
    if len(shape) == 2:
        return f"{shape[0]} {'windows' if 'windows' in batch else 'rows'} x {shape[1]} tokens"
    return f"{len(batch.get('index', ()))} rows"


def words(batch: str, options: Sequence[str], trains: bool) -> str:
    """What is wrong, and the ways out.

    Args:
        batch: size of the batch in words; empty if it is not known.
        options: names of the data's options.
        trains: whether it happened in training.
    """
    smaller = [f"data.{option}" for option in SMALLER if option in options]
    lower = f"lower {' or '.join(smaller or ['the rows of a batch'])}"
    ways = [lower, *(TRAINING if trains else ())]
    where = f" for a batch of {batch}" if batch else ""
    return f"not enough memory{where}; ways out: {', '.join(ways)}"


@contextlib.contextmanager
def explained(say: Callable[[], str]) -> Iterator[None]:
    """Turns an out-of-memory error into one line of advice.

    Args:
        say: gives that line.

    Raises:
        UserError: the device has run out of memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_lack(error):
            raise
        raise UserError(say()) from error
