"""The file of stored activations: its layout, and checksums of the inputs and of it all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ftlight.models.fixed import digest as digest
from ftlight.utils.errors import first_line
from ftlight.utils.sealed import Damaged, seal, unseal

FORMAT = 2  # of the file; 1 had no digest
MISSING = "there is none yet"
ALIGN = 64  # bytes
CHUNK = 1 << 16  # numbers that are mixed at once: their copies stay in the CPU's cache
INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by size in bytes


def mask_of(inputs: Mapping[str, Tensor]) -> Tensor | None:
    """The real tokens of a batch, ``bool [rows, tokens]``; None if the inputs are not tokens."""
    mask = inputs.get("attention_mask")
    return None if mask is None else mask.bool()


# Checksums


def _mix(values: Tensor) -> Tensor:
    """Spreads integers over all 64 bits, so that their sums differ (the finish of SplitMix64)."""
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        values = (values ^ (values >> shift)) * factor
    return values ^ (values >> 31)


def checksums(inputs: Mapping[str, Tensor]) -> Tensor:
    """A checksum of each row over all its inputs, whatever its padding, ``int64 [rows]``."""
    mask, total = mask_of(inputs), torch.zeros(0, dtype=torch.long)
    for i, key in enumerate(sorted(k for k in inputs if k != "attention_mask")):
        value, salt = inputs[key].contiguous(), i << 40
        if mask is not None and value.shape == mask.shape:
            sums = _token_sums(value, mask, salt)
        else:
            sums = _row_sums(value.view(len(value), -1), salt)
        total = sums + (total if i else 0)
    return total if mask is None or not len(total) else total + _mix(mask.long().sum(1))


def _token_sums(values: Tensor, mask: Tensor, salt: int) -> Tensor:
    """Checksums of tokens ``[rows, tokens]``, each with its position among the real ones."""
    if values.is_floating_point():
        values = values.view(INTEGERS[values.element_size()])
    positions = mask.long().cumsum(1) + salt
    return (_mix(values.long() ^ _mix(positions)) * mask).sum(1)


def _row_sums(values: Tensor, salt: int) -> Tensor:
    """Checksums of ``[rows, numbers]``, 8 bytes at a time and a few rows at once."""
    size = values.element_size()
    if values.shape[1] * size % 8 == 0:
        bits = values.view(torch.int64)
    else:
        bits = values.view(INTEGERS[size]).long()
    positions = _mix(torch.arange(1, bits.shape[1] + 1, device=bits.device) + salt)
    few = max(1, CHUNK // max(1, bits.shape[1]))  # images are large
    return torch.cat([_mix(rows ^ positions).sum(1) for rows in torch.split(bits, few)])


def fingerprint(tensors: Iterable[tuple[str, Tensor]]) -> list[int]:
    """A cheap fingerprint: equal means that the tensors have not changed."""
    numbers = []
    for _, value in tensors:
        if value.numel():
            bits = value.detach().contiguous().view(INTEGERS[value.element_size()])
            numbers.append(int(torch.hash_tensor(bits).view(torch.int64)))
            # The hash is an exclusive or, which takes an even number of ones for as many twos.
            numbers.append(int(bits.sum(dtype=torch.int64)))
    return numbers


# The file


class Layout:
    """Where the activations of each row lie in the file.

    Args:
        lengths: tokens of each row, by split.
        shape: shape of the activations of a token; of a row if ``per_row``.
        dtype: type of the activations.
        per_row: whether a row is stored as one, not token by token.
    """

    def __init__(
        self,
        lengths: Mapping[str, np.ndarray],
        shape: Sequence[int],
        dtype: torch.dtype,
        per_row: bool,
    ) -> None:
        self.shape = tuple(shape)
        self.dtype = dtype
        self.per_row = per_row
        self.lengths = {s: np.ones_like(n) if per_row else n for s, n in lengths.items()}
        ends = np.concatenate([[0], *self.lengths.values()]).cumsum()
        rows = np.concatenate([[0], [len(n) for n in self.lengths.values()]]).cumsum()
        self.first_row = dict(zip(self.lengths, rows[:-1].tolist(), strict=True))
        self.offsets = torch.from_numpy(ends)
        self.units = int(ends[-1])  # tokens, or rows if per_row
        self.rows = int(rows[-1])
        unit = int(np.prod(self.shape)) * dtype.itemsize
        self.values_bytes = -(-self.units * unit // ALIGN) * ALIGN
        self.bytes = self.values_bytes + 8 * self.rows

    def at(self, split: str, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Numbers of rows in the whole file, and the positions of their tokens in it, in order."""
        numbers = torch.as_tensor(rows) + self.first_row[split]
        if self.per_row:
            return numbers, numbers
        begins = self.offsets[numbers]
        counts = self.offsets[numbers + 1] - begins
        skipped = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        tokens = torch.arange(int(counts.sum())) - skipped  # of each row, from 0
        return numbers, torch.repeat_interleave(begins, counts) + tokens


class ActivationStore:
    """Activations of rows, and checksums of their inputs, in one memory-mapped file.

    Args:
        path: the file.
        layout: where rows lie in it.
        write: whether to fill it.
    """

    def __init__(self, path: Path, layout: Layout, write: bool = False) -> None:
        self.layout = layout
        self.memory = np.memmap(path, np.uint8, "r+" if write else "c", shape=(layout.bytes,))
        flat = torch.from_numpy(self.memory)
        values = flat[: layout.units * int(np.prod(layout.shape)) * layout.dtype.itemsize]
        self.values = values.view(layout.dtype).view(layout.units, *layout.shape)
        self.sums = flat[layout.values_bytes :].view(torch.int64)

    def put(
        self, split: str, rows: Sequence[int], states: Tensor, inputs: Mapping[str, Tensor]
    ) -> None:
        """Stores the activations of rows, ``[rows, tokens, …]`` or ``[rows, …]``.

        Raises:
            ValueError: they are not as many as the rows have tokens.
        """
        numbers, positions = self.layout.at(split, rows)
        mask = mask_of(inputs)
        values = states if self.layout.per_row or mask is None else states[mask]
        if len(values) != len(positions):
            raise ValueError("the lengths of its rows are not their numbers of tokens")
        self.values[positions] = values.to(self.layout.dtype).cpu()
        self.sums[numbers] = checksums(inputs).cpu()

    def flush(self) -> None:
        """Writes what was stored to the disk."""
        self.memory.flush()

    def get(self, split: str, rows: Sequence[int], inputs: Mapping[str, Tensor]) -> Tensor | None:
        """The activations of rows, 0 at padding; None if an input differs from the stored one."""
        numbers, positions = self.layout.at(split, rows)
        sums = checksums(inputs)
        if len(sums) != len(rows) or not torch.equal(self.sums[numbers].to(sums.device), sums):
            return None
        values = self.values[positions].to(sums.device, non_blocking=True)
        mask = mask_of(inputs)
        if self.layout.per_row or mask is None:
            return values
        states = values.new_zeros(*mask.shape, *self.layout.shape)
        states[mask] = values
        return states


def seal_store(path: Path, key: str) -> str:
    """Ends a file that was filled with its digest. Returns why it cannot, or nothing."""
    try:
        with path.open("r+b") as file:
            seal(file, key)
            os.fsync(file.fileno())
    except OSError as error:
        return f"{path} cannot be written ({error.strerror})"
    return ""


def open_store(path: Path, layout: Layout, key: str) -> tuple[ActivationStore | None, str]:
    """Opens a store if every byte is what was written.

    The whole file is read for that, once for each stage and process. An epoch reads it anyway, and
    so finds it in memory; a fault that shows before the first step can be mended.

    Returns:
        The store, or None and why: :data:`MISSING`, or what is wrong with the file.
    """
    try:
        if unseal(path, key)[0] != layout.bytes:
            raise Damaged("it is of another size")
        return ActivationStore(path, layout), ""
    except (FileNotFoundError, NotADirectoryError):
        return None, MISSING
    except (Damaged, OSError) as error:
        return None, f"{path}: {first_line(error)}"


@contextlib.contextmanager
def preserve_rng() -> Iterator[None]:
    """Random numbers continue afterwards as if nothing had been drawn."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield
