"""Checkpoint files that are never half there: written beside their target, checked when read."""

from __future__ import annotations

import errno
import functools
import io
import logging
import math
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from ftlight.utils.atomic import atomic_write, why_unwritten
from ftlight.utils.errors import UserError, first_line, holds_code
from ftlight.utils.zip_file import zip_fault

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
    return zip_fault(path)  # torch.load does not look at the checksums


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
        self.problem = _write(Path(path), size(checkpoint), lambda f: torch.save(checkpoint, f))

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


def pack(checkpoint: dict[str, Any]) -> bytes:
    """A checkpoint as the bytes of its file: a copy, in memory, that training does not change."""
    packed = io.BytesIO()
    torch.save(checkpoint, packed)
    return packed.getvalue()


def write_packed(packed: bytes, path: Path) -> str:
    """Writes what :func:`pack` has packed. Returns why it could not be written."""
    return _write(path, len(packed), lambda file: file.write(packed))


def _write(path: Path, needed: int, write: Callable[[IO[bytes]], Any]) -> str:
    """Writes a checkpoint; gives up previous.ckpt if there is no room for both.

    Args:
        path: the file.
        needed: bytes that it has at least.
        write: writes it to an open file.

    Returns:
        Why it could not be written; empty if it could.
    """
    previous = path.with_name(PREVIOUS)
    try:
        try:
            _put(path, needed, write)
        except (OSError, RuntimeError) as error:
            if not _lacks_room(error) or not previous.exists():
                raise
            remove_previous(path.parent)
            _put(path, needed, write)
    except (OSError, RuntimeError) as error:  # torch's writer raises only the latter
        why = why_unwritten(error) or first_line(error)
        has_other = path.exists() or (path.name == LAST and previous.exists())
        kept = "; the last one that was written stays" if has_other else ""
        return f"{path} cannot be written: {why}{kept}"
    return ""


def _put(path: Path, needed: int, write: Callable[[IO[bytes]], Any]) -> None:
    """Writes a file of at least so many bytes.

    Raises:
        OSError: it cannot be written.
        RuntimeError: the same; all that torch's writer raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    missing = needed - shutil.disk_usage(path.parent).free
    if missing > 0:
        lacks = math.ceil(missing / 1e5) / 10
        raise OSError(errno.ENOSPC, f"the disk lacks {lacks:,.1f} MB")
    with atomic_write(path, path.with_name(PREVIOUS) if path.name == LAST else None) as file:
        write(file)


def _lacks_room(error: OSError | RuntimeError) -> bool:
    return not isinstance(error, OSError) or error.errno in (errno.ENOSPC, errno.EDQUOT)
