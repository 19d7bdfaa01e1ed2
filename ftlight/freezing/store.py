"""Activations of a frozen prefix, computed once per row: when that pays, and the file that keeps them."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ftlight.models.fixed import digest as digest
from ftlight.utils.atomic import remove_stale

ALIGN = 64  # bytes
BITS = {
    1: torch.int8,
    2: torch.int16,
    4: torch.int32,
    8: torch.int64,
}  # integers of a size in bytes


def plan(cuts: Sequence[int], epochs: Sequence[float], always: bool = False) -> list[int | None]:
    """Which stages of a schedule read stored activations, and at which cut these are stored.

    A store at cut ``k`` serves stages whose cut is not below it; they still run the layers between. It costs one pass
    through ``k`` layers. Found by the least number of layers run over the whole schedule.

    Args:
        cuts: number of frozen layers at the bottom, by stage.
        epochs: epochs of each stage.
        always: whether a store that saves nothing is made too.

    Returns:
        The cut of the store that each stage reads, or None where it runs all layers.

    >>> plan([6, 4, 0], [5, 1, 3])  # head for 5 epochs, last:2 for one, all: the second gains nothing of its own
    [6, None, None]
    >>> plan([6, 5, 4, 3, 0], [1, 1, 1, 1, 5])
    [3, 3, 3, 3, None]
    """
    best: list[tuple[float, list[int | None]]] = [(0.0, [])]
    for end in range(1, len(cuts) + 1):
        cost, made = best[end - 1]
        options = [(cost + cuts[end - 1] * epochs[end - 1], [*made, None])]
        for start in range(end):
            k = min(cuts[start:end])
            if k > 0:
                run = k + sum(
                    (c - k) * e for c, e in zip(cuts[start:end], epochs[start:end], strict=True)
                )
                options.append(
                    (
                        best[start][0] + (0 if always else run),
                        [*best[start][1], *[k] * (end - start)],
                    )
                )
        # equal costs: the plain way; when storing is asked for, the fewest layers left to run
        best.append(
            min(
                options,
                key=lambda o: (
                    o[0],
                    sum(c - (s or 0) for c, s in zip(cuts, o[1], strict=False)) if always else 0,
                ),
            )
        )
    return best[-1][1]


def mask_of(inputs: Mapping[str, Tensor]) -> Tensor | None:
    """Which tokens of a batch are real, ``bool [rows, tokens]``; None where inputs are not tokens."""
    mask = inputs.get("attention_mask")
    return None if mask is None else mask.bool()


def _mixed(values: Tensor) -> Tensor:
    """Integers spread over all 64 bits, so that sums of them tell apart what they were made of (the finish of SplitMix64)."""
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        values = (values ^ (values >> shift)) * factor
    return values ^ (values >> 31)


def checksums(inputs: Mapping[str, Tensor]) -> Tensor:
    """A number for each row that changes with any of its inputs but not with its padding, ``int64 [rows]``."""
    mask, total = mask_of(inputs), torch.zeros(0, dtype=torch.long)
    for i, key in enumerate(sorted(k for k in inputs if k != "attention_mask")):
        value = inputs[key].contiguous()
        if mask is not None and value.shape == mask.shape:
            bits = (
                value.view(BITS[value.element_size()]).long()
                if value.is_floating_point()
                else value.long()
            )
            found = (_mixed(bits ^ _mixed(mask.long().cumsum(1) + (i << 40))) * mask).sum(1)
        else:  # row by row and 8 bytes at a time: images have many
            rows = value.view(len(value), -1)
            whole = rows.shape[1] * value.element_size() % 8 == 0
            bits = rows.view(torch.int64) if whole else rows.view(BITS[value.element_size()]).long()
            at = _mixed(torch.arange(1, bits.shape[1] + 1, device=bits.device) + (i << 40))
            found = torch.stack([_mixed(row ^ at).sum() for row in bits])
        total = found + (total if i else 0)
    return total if mask is None or not len(total) else total + _mixed(mask.long().sum(1))


def fingerprint(tensors: Iterable[tuple[str, Tensor]]) -> list[int]:
    """Numbers of tensors that tell whether these changed: fast, blind to order, for the same tensors later."""
    bits = [v.detach().contiguous().view(BITS[v.element_size()]) for _, v in tensors if v.numel()]
    # exclusive or alone takes many ones for as many twos
    return [
        n
        for b in bits
        for n in (int(torch.hash_tensor(b).view(torch.int64)), int(b.sum(dtype=torch.int64)))
    ]


class Layout:
    """Where the activations of each row lie in the file.

    Args:
        lengths: tokens of each row, by split; ones where a row is kept whole.
        shape: numbers of a token, or of a row that is kept whole.
        dtype: type of the numbers.
        whole: whether rows are kept whole, not token by token.
    """

    def __init__(
        self,
        lengths: Mapping[str, np.ndarray],
        shape: Sequence[int],
        dtype: torch.dtype,
        whole: bool,
    ) -> None:
        self.shape, self.dtype, self.whole = tuple(shape), dtype, whole
        self.lengths = {s: np.ones_like(n) if whole else n for s, n in lengths.items()}
        units = np.concatenate([[0], *self.lengths.values()]).cumsum()
        rows = np.concatenate([[0], [len(n) for n in self.lengths.values()]]).cumsum()
        self.first_row = dict(zip(self.lengths, rows[:-1].tolist(), strict=True))
        self.offsets = torch.from_numpy(units)
        self.units, self.rows = int(units[-1]), int(rows[-1])
        unit = int(np.prod(self.shape)) * dtype.itemsize
        self.values_bytes = -(-self.units * unit // ALIGN) * ALIGN
        self.bytes = self.values_bytes + 8 * self.rows

    def at(self, split: str, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Numbers of rows in the whole file, and the places of their tokens, in order."""
        numbers = torch.as_tensor(rows) + self.first_row[split]
        if self.whole:
            return numbers, numbers
        begins, counts = self.offsets[numbers], self.offsets[numbers + 1] - self.offsets[numbers]
        skipped = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        return numbers, torch.repeat_interleave(begins, counts) + torch.arange(
            int(counts.sum())
        ) - skipped


class ActivationStore:
    """Activations and checksums of rows in one memory-mapped file.

    Args:
        path: the file.
        layout: where rows lie in it.
        write: whether it is being filled.
    """

    def __init__(self, path: Path, layout: Layout, write: bool = False) -> None:
        self.path, self.layout = path, layout
        memory = np.memmap(path, np.uint8, "r+" if write else "c", shape=(layout.bytes,))
        flat = torch.from_numpy(memory)
        self.memory = memory
        values = flat[: layout.units * int(np.prod(layout.shape)) * layout.dtype.itemsize]
        self.values = values.view(layout.dtype).view(layout.units, *layout.shape)
        self.sums = flat[layout.values_bytes :].view(torch.int64)

    def put(
        self, split: str, rows: Sequence[int], states: Tensor, inputs: Mapping[str, Tensor]
    ) -> None:
        """Keeps the activations of rows, ``[rows, tokens, …]`` or ``[rows, …]``."""
        numbers, places_of = self.layout.at(split, rows)
        mask = mask_of(inputs)
        kept = states if self.layout.whole or mask is None else states[mask]
        self.values[places_of] = kept.to(self.layout.dtype).cpu()
        self.sums[numbers] = checksums(inputs).cpu()

    def flush(self) -> None:
        """Writes what was put to the disk."""
        self.memory.flush()

    def get(self, split: str, rows: Sequence[int], inputs: Mapping[str, Tensor]) -> Tensor | None:
        """The activations of rows, zero where they are padded; None where an input is not the one that was kept."""
        numbers, places_of = self.layout.at(split, rows)
        sums = checksums(inputs)
        if len(sums) != len(rows) or not torch.equal(self.sums[numbers].to(sums.device), sums):
            return None
        kept = self.values[places_of].to(sums.device, non_blocking=True)
        mask = mask_of(inputs)
        if self.layout.whole or mask is None:
            return kept
        states = kept.new_zeros(*mask.shape, *self.layout.shape)
        states[mask] = kept
        return states


def cache_dir() -> Path:
    """Folder of kept activations: ``$FTLIGHT_CACHE``, or ``~/.cache/ftlight``."""
    return Path(os.environ.get("FTLIGHT_CACHE") or Path.home() / ".cache" / "ftlight").expanduser()


def evict(folder: Path, needed: int, limit: float) -> str:
    """Deletes the files that were used longest ago until there is room. Returns why there is none, or nothing.

    Args:
        folder: folder of the files.
        needed: bytes of the new file.
        limit: the most bytes of all files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(folder)
    size = f"{needed / 1e9:.2g} GB"
    if needed > limit:
        return f"it would take {size}; model.cache_gb allows {limit / 1e9:.2g}"
    files = []
    for file in folder.glob("*.bin*"):
        with contextlib.suppress(FileNotFoundError):  # another run deletes too
            if file.is_file():
                files.append((file.stat().st_mtime, file.stat().st_size, file))
    files.sort(key=lambda f: f[:2])
    old = [f for f in files if f[2].suffix == ".bin"]  # another run is writing a part
    used = sum(bytes_ for _, bytes_, _ in files)
    while old and used + needed > limit:
        _, bytes_, file = old.pop(0)
        file.unlink(missing_ok=True)
        used -= bytes_
    if used + needed > limit:
        return f"it would take {size}; other runs are writing {used / 1e9:.2g} GB of the {limit / 1e9:.2g} that model.cache_gb allows"
    free = shutil.disk_usage(folder).free
    return (
        ""
        if free > needed * 1.05
        else f"it would take {size}; {folder} has {free / 1e9:.2g} GB free"
    )


def reserve(part: Path, needed: int, limit: float) -> str:
    """Makes a file of its full size, so that a disk cannot be full later. Returns why it cannot be made, or nothing."""
    try:
        reason = evict(part.parent, needed, limit)
        if not reason:
            with part.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, needed)
                else:
                    file.truncate(needed)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        return f"{part.parent} cannot be written ({error.strerror})"
    return reason


@contextlib.contextmanager
def preserve_rng() -> Iterator[None]:
    """Random numbers go on afterwards as if nothing had happened."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield
