"""Checkpoint files that are either whole or not there: written beside their target, checked when read, the one before kept."""

from __future__ import annotations

import functools
import logging
import pickle
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from ftlight.utils.atomic import atomic_write
from ftlight.utils.errors import UserError, first_line, holds_code

log = logging.getLogger(__name__)
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


def size(data: Any) -> int:
    """Bytes of the tensors in nested mappings and lists; a tensor that is there twice counts once, as in a file."""
    seen: dict[int, int] = {}

    def walk(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            seen[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, Mapping):
            for item in value.values():
                walk(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)

    walk(data)
    return sum(seen.values())


@functools.lru_cache(8)
def _fault(path: Path, changed: int, bytes_: int) -> str:
    try:
        with zipfile.ZipFile(path) as file:
            damaged = (
                file.testzip()
            )  # torch.save stores a CRC-32 with every tensor; torch.load does not look at it
    except Exception as error:  # whatever a reader of broken bytes does
        return f"it is not whole ({error})"
    return f"its part {damaged} is not what was written" if damaged else ""


def fault(path: Path) -> str:
    """Why a checkpoint cannot be used: missing, cut off, or a byte of it another one. Nothing where it is fine."""
    if not path.exists():
        return "there is none"
    if path.is_dir():  # of a strategy that writes its own shards
        return ""
    stat = path.stat()
    return _fault(path, stat.st_mtime_ns, stat.st_size)


def newest(folder: Path) -> Path | None:
    """The newest checkpoint of a run's folder of checkpoints that can be gone on from, None where there never was one.

    Raises:
        UserError: all that are there are damaged.
    """
    damaged: list[str] = []
    for path in (folder / name for name in (LAST, PREVIOUS)):
        if path.exists():
            why = fault(path)
            if not why:
                for line in damaged:
                    log.warning("%s; the one before it is taken", line)
                return path
            damaged.append(f"{path} is damaged: {why}")
    if damaged:
        raise UserError(
            f"{'; '.join(damaged)}; no other is left to go on from: give another --run DIR to start anew"
        )
    return None


def load(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint whole; nothing is unpickled but tensors, numbers and text.

    Raises:
        UserError: it is damaged, or holds something else.
    """
    path = Path(path)
    why = fault(path)
    if why:
        raise UserError(f"{path} is damaged: {why}{_others(path)}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # whose text says how to run the code all the same
        raise holds_code(path) from None
    except Exception as error:  # whatever a reader of broken bytes does
        raise UserError(f"{path} cannot be read: {first_line(error)}{_others(path)}") from None


def _others(path: Path) -> str:
    fine = [p.name for p in sorted(path.parent.glob("*.ckpt")) if p != path and not fault(p)]
    return f" (whole ones: {', '.join(fine) or 'none'}; --ckpt_path takes one)"


def _reason(error: BaseException) -> str:
    """Why a file could not be written; torch's writer says only that it stands at another place than it thinks."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return (
        "the disk is full, or files may not grow so large"
        if "unexpected pos" in str(error)
        else first_line(error)
    )


class CheckpointIO(TorchCheckpointIO):
    """Saves beside the target and replaces it at once: Lightning's goes through TMPDIR, where a kill destroys the old file.

    What cannot be written is kept in :attr:`problem`, for all processes to hear of: one that raised alone would leave the
    others waiting.
    """

    problem = ""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Writes a checkpoint; last.ckpt takes the place of one that is kept as previous.ckpt."""
        path, self.problem = Path(path), ""
        before = path.with_name(PREVIOUS) if path.name == LAST else None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            missing = self._room(path, size(checkpoint))
            if missing > 0:
                raise OSError(f"{missing / 1e6:,.1f} MB are missing on the disk")
            with atomic_write(path, before) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch's writer knows only the latter
            there = path.exists() or (before is not None and before.exists())
            kept = "; the last one that was written stays" if there else ""
            self.problem = f"{path} cannot be written: {_reason(error)}{kept}"

    def _room(self, path: Path, needed: int) -> int:
        """Bytes that are missing for a file; gives up previous.ckpt for it, while the last one is whole."""
        free = shutil.disk_usage(path.parent).free
        old = path.with_name(PREVIOUS)
        if free < needed and path.name == LAST and old.exists() and not fault(path):
            old.unlink()
            free = shutil.disk_usage(path.parent).free
        return needed - free

    def load_checkpoint(
        self,
        path: Any,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Reads a checkpoint; nothing is unpickled.

        Raises:
            UserError: it is damaged.
        """
        return load(path)
