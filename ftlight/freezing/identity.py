"""What a store of activations depends on: why there can be none, and the name of its file."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from ftlight.data import sampling
from ftlight.data.files import code
from ftlight.data.module import DataModule
from ftlight.freezing import store as files
from ftlight.freezing import verify
from ftlight.freezing.tap import Tap
from ftlight.models import kernels
from ftlight.models.layers import layer_of, module_layers
from ftlight.models.modes import compiled
from ftlight.models.padding import runs_unpadded
from ftlight.training.fsdp import FSDP2

# Most rows and tokens of a batch while filling. Not the run's: stores depend on the data alone.
FILL_ROWS = 64
FILL_TOKENS = 16384
FIXED = -1  # in place of the number of a draw: rows that are the same in every epoch


def batches(
    trainer: Any, table: Any, first: int = 0, step: int = 1, draw: int = FIXED
) -> Iterator[dict[str, Any]]:
    """Every ``step``-th batch of a table from number ``first``, in order of length, on the device.

    Args:
        trainer: the trainer, whose data module makes them.
        table: an encoded split.
        first: number of the first batch.
        step: which of the following come.
        draw: number of the random draw of the rows; FIXED for rows that are not changed.
    """
    lengths = np.asarray(table["length"])
    plan: list[np.ndarray] = []
    for rows in sampling.eval_batches(lengths, FILL_ROWS):
        tokens = len(rows) * int(lengths[rows].max())
        plan += np.array_split(rows, -(-tokens // FILL_TOKENS))
    return load(trainer, table, plan[first::step], draw)


def load(
    trainer: Any, table: Any, plan: list[np.ndarray], draw: int = FIXED
) -> Iterator[dict[str, Any]]:
    """Batches of a table with these rows, on the device."""
    if plan:
        position = None if draw == FIXED else lambda: (draw, 0)
        loader = trainer.datamodule.loader(lambda epoch: plan, table, position)
        yield from map(trainer.strategy.batch_to_device, loader)


def obstacle(trainer: Any, task: Any, draws: int = 0) -> str:
    """Why this run cannot store activations, or nothing.

    Args:
        trainer: the trainer.
        task: the task.
        draws: random draws of training rows that epochs take in turn; 0 if each has its own.
    """
    if not isinstance(trainer.datamodule, DataModule):
        return "the data module is not one of ftlight's, so rows have no numbers"
    if trainer.datamodule.varies and not draws:
        return verify.DIFFERS
    if compiled(task):
        return "the model is compiled"
    if isinstance(trainer.strategy, FSDP2):
        return "no process has all weights under fsdp2"
    if runs_unpadded(task.model):
        return "the model runs rows of equal length together"
    if any(getattr(m, "gradient_checkpointing", False) for m in task.model.modules()):
        return "gradient checkpointing runs layers twice"
    return ""


def below(task: Any, tap: Tap) -> list[tuple[str, Tensor]]:
    """Parameters and buffers that the stored activations depend on."""
    layers = module_layers(task.model)
    above = {"head"}
    if not tap.at_head:
        above |= {"post", *(f"layer {i}" for i in range(tap.cut, len(layers)))}
    tensors = [*task.model.named_parameters(), *task.model.named_buffers()]
    return [(name, t) for name, t in tensors if layer_of(name, layers) not in above]


def key(
    trainer: Any, task: Any, tap: Tap, tables: Mapping[str, Any], dtype: str, draw: int = FIXED
) -> str:
    """A name from all that activations depend on; unique if a table has no fingerprint."""
    fingerprints = [getattr(table, "fingerprint", None) for table in tables.values()]
    strategy = trainer.strategy
    config = getattr(tap.base, "config", None)
    device = strategy.root_device
    if device.type == "cuda":
        processor = torch.cuda.get_device_name(device)
    else:
        processor = torch.backends.cpu.get_cpu_capability()
    parts = [
        str(files.FORMAT),
        files.digest(below(task, tap)),
        config.to_json_string() if config is not None else "",
        str(tap.cut),
        str(tap.at_head),
        dtype,
        repr(task.model),
        trainer.precision,
        device.type,
        processor,
        torch.__version__,
        transformers.__version__,
        str(FILL_ROWS),
        str(FILL_TOKENS),
        *(print_ or strategy.broadcast(uuid.uuid4().hex) for print_ in fingerprints),
        task.kernels,
        code(kernels.attention_forward),
    ]
    if draw != FIXED:
        data = trainer.datamodule
        parts += [f"draw {draw} of seed {data.seed}", data.augmentation]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
