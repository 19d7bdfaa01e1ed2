"""Files below a folder, and classes and splits by the names of folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ftlight.utils.errors import UserError

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
HERE = Path()


def walk(folder: Path) -> list[str]:
    """Paths of all files below a folder, with ``/``, in no order; links are followed.

    Raises:
        UserError: it is the root of a disk, which would be read whole.
    """
    top = folder.resolve()
    if top == Path(top.anchor):
        raise UserError(f"{folder}: this is a whole disk; name the folder of the data")
    seen, names = set(), []
    for place, below, inside in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above would go round for ever
            below.clear()
        seen.add(real)
        below_it = Path(place).relative_to(folder)
        names += [name if below_it == HERE else f"{below_it.as_posix()}/{name}" for name in inside]
    return names


def split_of(name: str) -> str | None:
    """The split that a folder or file is named for.

    >>> split_of("Valid"), split_of("glass")
    ('validation', None)
    """
    return next((split for split, names in SPLITS.items() if name.lower() in names), None)


def by_class(names: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Files with their classes, by split; all under ``""`` if no folders are named for splits.

    The class is the folder below the split's, or the first. A folder around everything is skipped.

    >>> names = ["set/train/cat/1.jpg", "set/train/dog/a/2.jpg", "set/val/cat/3.jpg"]
    >>> by_class(names)["validation"]
    [('set/val/cat/3.jpg', 'cat')]
    >>> by_class(["cat/1.jpg", "2.jpg"])[""]
    [('cat/1.jpg', 'cat'), ('2.jpg', '')]
    """
    parts = {name: name.split("/") for name in names}
    skip = _around(list(parts.values()))
    tops: dict[str, list[str]] = {}
    for name, part in parts.items():
        tops.setdefault(part[skip] if len(part) > skip + 1 else "", []).append(name)

    splits = {top: split_of(top) for top in tops}
    # a folder for a split holds folders of classes, not files
    deep = {top: all(len(parts[n]) > skip + 2 for n in inside) for top, inside in tops.items()}
    trains = [top for top, split in splits.items() if split == "train"]
    divided = bool(trains) and all(deep[top] for top in trains)
    divided = divided or (all(splits.values()) and (all(deep.values()) or len(tops) > 1))

    files: dict[str, list[tuple[str, str]]] = {}
    for top, inside in tops.items():
        split = (splits[top] or "other") if divided else ""
        at = skip + 1 if divided else skip
        for name in inside:
            label = parts[name][at] if len(parts[name]) > at + 1 else ""
            files.setdefault(split, []).append((name, label))
    return files


def _around(parts: Sequence[Sequence[str]]) -> int:
    """How many folders lie around everything and are not named for a split."""
    skip = 0
    while parts and all(len(p) > skip + 2 for p in parts) and len({p[skip] for p in parts}) == 1:
        if split_of(parts[0][skip]):
            break
        skip += 1
    return skip
