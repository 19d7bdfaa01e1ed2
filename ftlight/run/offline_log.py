"""Reads back what W&B has written of a run on this machine.

Its files have the log format of LevelDB after a header of 7 bytes: blocks of 32 KiB, in which a
record is whole or in several parts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEAD, BLOCK, PART = 7, 32768, struct.Struct("<IHB")  # checksum, bytes, kind of a part
FULL, LAST = 1, 4


def last_step(folder: Path, name: str) -> int:
    """The last step that W&B has written of a run; 0 if there is none.

    Args:
        folder: the run folder.
        name: id of the W&B run.
    """
    steps = [0]
    for file in folder.glob(f"wandb/*run-*-{name}/run-{name}.wandb"):
        steps += [r.history.step.num for r in records(file) if r.HasField("history")]
    return max(steps)


def records(path: Path) -> Iterator[Any]:
    """Records of a .wandb file, up to the first that a kill has cut short."""
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2

    for content in _contents(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        try:
            record.ParseFromString(content)
        except DecodeError:
            return
        yield record


def _contents(data: bytes) -> Iterator[bytes]:
    at, whole = HEAD, b""
    while at + PART.size <= len(data):
        left = BLOCK - at % BLOCK
        if left < PART.size:  # too few for a part: filled with zeros
            at += left
            continue
        _, length, kind = PART.unpack_from(data, at)
        at += PART.size
        if kind == 0 or at + length > len(data):
            return
        whole += data[at : at + length]
        at += length
        if kind in (FULL, LAST):
            yield whole
            whole = b""
