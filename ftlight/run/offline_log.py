"""Reads back what W&B has written of a run on this machine.

Its files have the log format of LevelDB after a header of 7 bytes: blocks of 32 KiB, in which a
record is whole or in several parts.
"""

from __future__ import annotations

import glob
import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEAD, BLOCK, PART = 7, 32768, struct.Struct("<IHB")  # checksum, bytes, kind of a part
FULL, FIRST, LAST = 1, 2, 4


def last_step(folder: Path, name: str) -> int:
    """The last step that W&B has written of a run; 0 if there is none.

    Args:
        folder: the run folder.
        name: id of the W&B run.
    """
    known = glob.escape(name)  # an id may hold brackets
    files = folder.glob(f"wandb/*run-*-{known}/run-{known}.wandb")
    return max(map(_last_step, files), default=0)


def _last_step(path: Path) -> int:
    """The last step in a file, which is read from its end: steps rise."""
    blocks = path.stat().st_size // BLOCK
    for count in itertools.accumulate(itertools.repeat(4), lambda a, b: a * b):
        first = max(0, blocks - count)
        steps = [r.history.step.num for r in records(path, first) if r.HasField("history")]
        if steps or not first:
            return max(steps, default=0)
    return 0


def records(path: Path, first: int = 0) -> Iterator[Any]:
    """Records of a .wandb file, up to the first that a kill has cut short.

    Args:
        path: the file.
        first: block to begin with, at the first record that begins in it.
    """
    from wandb.proto import wandb_internal_pb2

    with path.open("rb") as file:
        file.seek(first * BLOCK)
        data = file.read()
    for content in _contents(data, 0 if first else HEAD):
        record = wandb_internal_pb2.Record()
        try:
            record.ParseFromString(content)
        except Exception:  # of protobuf, which wandb brings
            return
        yield record


def _contents(data: bytes, at: int) -> Iterator[bytes]:
    """What the parts from a place on hold, put together."""
    whole: bytes | None = None
    while at + PART.size <= len(data):
        left = BLOCK - at % BLOCK
        if left < PART.size:  # too few for a part: filled with zeros
            at += left
            continue
        _, length, kind = PART.unpack_from(data, at)
        at += PART.size
        if kind == 0 or at + length > len(data):
            return
        if kind in (FULL, FIRST):
            whole = b""
        if whole is not None:  # else the rest of a record that began before
            whole += data[at : at + length]
            if kind in (FULL, LAST):
                yield whole
                whole = None
        at += length
