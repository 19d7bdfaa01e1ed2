"""Checkpoint files that are either whole or not there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """Writes a file beside ``path`` and moves it there once it is whole and on the disk.

    On any error the old file stays and the part is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class CheckpointIO(TorchCheckpointIO):
    """Saves beside the target and replaces it at once: Lightning's goes through TMPDIR, where a kill destroys the old file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes a checkpoint."""
        with replacing(path) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = lambda storage, loc: storage, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Reads a checkpoint; nothing is unpickled."""
        return super().load_checkpoint(path, map_location, weights_only=True)
