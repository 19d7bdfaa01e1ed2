"""Checkpoint files that are never half there: written beside their target, checked when read."""

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
    """Bytes of the tensors in nested mappings and lists; one that is there twice counts once."""
    seen: dict[int, int] = {}

    def walk(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, Mapping):
            for item in value.values():
                walk(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)

    walk(data)
    return sum(seen.values())


@functools.lru_cache(8)
def _fault(path: Path, changed: int, size_: int) -> str:
    try:
        with zipfile.ZipFile(path) as file:
            # torch.save stores a CRC-32 with every tensor; torch.load does not check it
            damaged = file.testzip()
    except Exception as error:  # whatever a reader of broken bytes raises
        return f"it is not a complete file ({error})"
    return f"the checksum of its part {damaged} is wrong" if damaged else ""


def fault(path: Path) -> str:
    """Why a checkpoint cannot be used: missing, cut off, or a byte changed; empty if it can."""
    if not path.exists():
        return "there is none"
    if path.is_dir():  # of a strategy that writes its own shards
        return ""
    stat = path.stat()
    return _fault(path, stat.st_mtime_ns, stat.st_size)


def newest(folder: Path) -> Path | None:
    """The latest intact checkpoint of a run; None if the run has none yet.

    Args:
        folder: the run's folder of checkpoints.

    Raises:
        UserError: all that are there are damaged.
    """
    damaged: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        why = fault(path)
        if not why:
            for line in damaged:
                log.warning("%s; resuming from the one before it", line)
            return path
        damaged.append(f"{path} is damaged: {why}")
    if damaged:
        raise UserError(
            f"{'; '.join(damaged)}; no other is left to resume from: give another --run DIR to"
            " start anew"
        )
    return None


def remove_previous(folder: Path) -> None:
    """Removes the checkpoint before the last one, if the last one is intact.

    Args:
        folder: the run's folder of checkpoints.
    """
    if not fault(folder / LAST):
        (folder / PREVIOUS).unlink(missing_ok=True)


def load(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU; only tensors, numbers and text are unpickled.

    Raises:
        UserError: it is damaged, or holds anything else.
    """
    path = Path(path)
    why = fault(path)
    if why:
        raise UserError(f"{path} is damaged: {why}{_others(path)}")
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # its text says how to run the code all the same
        raise holds_code(path) from None
    except Exception as error:  # whatever a reader of broken bytes raises
        raise UserError(f"{path} cannot be read: {first_line(error)}{_others(path)}") from None
    if not isinstance(data, dict) or not isinstance(data.get("state_dict"), dict):
        raise UserError(f"{path} is no checkpoint of a run: it has no state_dict{_others(path)}")
    return data


def _others(path: Path) -> str:
    intact = [p.name for p in sorted(path.parent.glob("*.ckpt")) if p != path and not fault(p)]
    return f" (intact: {', '.join(intact) or 'none'}; --ckpt_path takes one)"


def _reason(error: BaseException) -> str:
    """Why a file could not be written."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if "unexpected pos" in str(error):  # all that torch's writer says of it
        return "the disk is full, or files may not grow so large"
    return first_line(error)


class CheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target and then renames it.

    Lightning's own goes through TMPDIR, where a kill destroys the old file. A failure to write is
    kept in :attr:`problem` for all processes to read: if one raised alone, the others would wait.
    """

    problem = ""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Writes a checkpoint; the last.ckpt of before becomes previous.ckpt."""
        path, self.problem = Path(path), ""
        before = path.with_name(PREVIOUS) if path.name == LAST else None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            missing = self._missing_bytes(path, size(checkpoint))
            if missing > 0:
                raise OSError(f"the disk lacks {missing / 1e6:,.1f} MB")
            with atomic_write(path, before) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch's writer raises only the latter
            has_other = path.exists() or (before is not None and before.exists())
            kept = "; the last one that was written stays" if has_other else ""
            self.problem = f"{path} cannot be written: {_reason(error)}{kept}"

    def _missing_bytes(self, path: Path, needed: int) -> int:
        """Bytes that the disk lacks; gives up previous.ckpt for them while last.ckpt is intact."""
        free = shutil.disk_usage(path.parent).free
        if free < needed and path.name == LAST:
            remove_previous(path.parent)
            free = shutil.disk_usage(path.parent).free
        return needed - free

    def load_checkpoint(
        self,
        path: Any,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Reads a checkpoint; see :func:`load`.

        Raises:
            UserError: it is damaged.
        """
        return load(path)
