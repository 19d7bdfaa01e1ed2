"""Where verbs write what they make of a run, which may lie where nothing can be written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ftlight.utils.atomic import write_json, writing
from ftlight.utils.errors import UserError
from ftlight.utils.json_file import ANY, is_there, read

INDEX = "inputs.json"  # in a folder of results: the source of each name


def home(run: Path) -> Path:
    """The folder for what is made of a run: the run itself, if it can be written.

    Otherwise a folder of its name where one stands, with the same files in it: a run may be
    finished and on a disk that is only read, or of another user.
    """
    return run if is_writable(run) else Path.cwd() / f"{run.name}-results"


def is_writable(path: Path) -> bool:
    """Whether a file or folder can be made at a path, by the folder that is there to hold it."""
    holder = path
    while not holder.exists() and holder != holder.parent:
        holder = holder.parent
    return holder.is_dir() and os.access(holder, os.W_OK | os.X_OK)


def free(folder: Path, name: str, source: str, before: str = "", after: str = "") -> str:
    """A name in a folder for what is made of a source: one that nothing of another source has.

    Args:
        folder: the folder.
        name: the name wanted; ``-2``, ``-3``, … before its suffix make it another one.
        source: the file that it is made of.
        before: what stands before the name in that of a file.
        after: what stands behind it.
    """
    known, own = _known(folder), _absolute(source)
    stem, suffix = (name, "") if after else (Path(name).stem, Path(name).suffix)
    for number in range(1, 10**6):
        tried = name if number == 1 else f"{stem}-{number}{suffix}"
        path = folder / f"{before}{tried}{after}"
        if known.get(tried) == own and str(path.resolve()) != own:
            return tried
        if tried not in known and not os.path.lexists(path):
            return tried
    raise UserError(f"{folder} has too many files named {stem}")


def claim(folder: Path, name: str, source: str) -> None:
    """Notes of which source a name in a folder is.

    Raises:
        WriteError: that cannot be written.
    """
    known, own = _known(folder), _absolute(source)
    if known.get(name) != own:
        with writing(folder / INDEX):
            write_json(folder / INDEX, {**known, name: own})


def keep_apart(path: Path, sources: Iterable[str | None]) -> None:
    """Refuses to write into what is read.

    Args:
        path: the file to write.
        sources: files and folders that are read, or were to train; None for none.

    Raises:
        UserError: it is one of them, or a file that is in one of them.
    """
    if not path.exists():
        return
    for source in filter(None, sources):
        place, own = Path(source).expanduser().resolve(), path.resolve()
        # a result of an earlier time may lie there
        is_result = path.suffix in (".csv", ".jsonl", ".xlsx")
        inside = place.is_dir() and own.is_relative_to(place) and not is_result
        if inside or (place.exists() and os.path.samefile(place, own)):
            what = f"is in {source}, which is read" if inside else "is a file that is read"
            raise UserError(f"--out {path} {what}; give another file")


def _known(folder: Path) -> dict[str, str]:
    """The source of each name that is noted in a folder."""
    path = folder / INDEX
    return read(path, {ANY: str}, "remove it") if is_there(path) else {}


def _absolute(source: str) -> str:
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source  # a data set of the hub


def named(name: str) -> Path:
    """The file that ``--out`` names.

    Raises:
        UserError: it is a folder, or is written as one.
    """
    if name.endswith(("/", os.sep)) or Path(name).is_dir():
        raise UserError(f"--out {name} is a folder; name a file in it")
    return Path(name)


def check(path: Path) -> None:
    """Refuses a file that could not be written, before the work that fills it.

    Raises:
        UserError: it is a folder or a device, or its folder cannot be written.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is there and is no file; give a file with --out F")
    if not is_writable(path.parent):
        raise closed(path)


def closed(path: Path) -> UserError:
    """The error for a place where nothing can be written."""
    return UserError(f"{path} cannot be written; give a place that can with --out")
