"""What ``auto`` was asked for, kept beside its ladder, whose runs are of that and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftlight.cli import backbones
from ftlight.cli.guess import Guess
from ftlight.data import files
from ftlight.run.folder import short
from ftlight.utils.atomic import write_json, writing
from ftlight.utils.errors import UserError
from ftlight.utils.json_file import ANY, Shape, is_there, read

NAME = "asked.json"
KEPT: Shape = {"data": {ANY: str}, "options": str, "backbones": [str]}


def settle(home: Path, told: Guess, options: Mapping[str, str], names: list[str]) -> list[str]:
    """Notes what a ladder is of, or checks that it is of the same.

    Args:
        home: folder of the ladder.
        told: what was told of the file.
        options: options that all rungs have.
        names: backbones that are asked for; none for those that the ladder has.

    Returns:
        The backbones.

    Raises:
        UserError: it was begun with other data, options or backbones.
    """
    path = home / NAME
    known: dict[str, Any] = read(path, KEPT, "move its folder away") if is_there(path) else {}
    text = json.dumps(sorted(options.items()))  # as a digest: there may be secrets in it
    asked: dict[str, Any] = {
        "data": {split: _digest(Path(name)) for split, name in told.files.items()},
        "options": hashlib.sha256(text.encode()).hexdigest(),
        "backbones": names or known.get("backbones") or backbones.candidates(told.task),
    }
    if not known:
        with writing(path):
            write_json(path, asked)
    elif known != asked:
        raise other(home)
    return list(asked["backbones"])


def other(home: Path) -> UserError:
    """The error of a ladder that was begun with something else."""
    return UserError(
        f"{short(home)} was begun with other data or options; give another --run DIR, or move it"
        " away"
    )


def _digest(path: Path) -> str:
    """What tells the content of a file, or the names and sizes of the files in a folder."""
    if not path.is_dir():
        return files.sha256(path)
    listed = sorted(
        (file.relative_to(path).as_posix(), file.stat().st_size)
        for file in path.rglob("*")
        if file.is_file()
    )
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()
