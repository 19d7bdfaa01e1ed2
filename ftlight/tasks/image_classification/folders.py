"""Classes and splits of images by the names of their folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ftlight.data import files

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


def is_image(name: str) -> bool:
    """Whether a file is an image, by its suffix."""
    return name.lower().endswith(files.IMAGE_SUFFIXES)


def without_suffix(name: str) -> bool:
    """Whether the name of a file does not tell its format.

    >>> without_suffix("set.1/IMG_12"), without_suffix("a.2024"), without_suffix("readme.txt")
    (True, True, False)
    """
    return not re.search(r"\.[A-Za-z][A-Za-z0-9]{0,4}$", name.rpartition("/")[2])


def is_image_start(start: bytes) -> bool:
    """Whether a file is an image, by its first 16 bytes."""
    if start[:2] == b"BM":
        return start[6:10] == bytes(4)
    return (
        start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*"))
        or (start[:4], start[8:12]) == (b"RIFF", b"WEBP")
        or start[4:12] in (b"jP  \r\n\x87\n", b"ftypavif", b"ftypavis", b"ftypheic", b"ftypmif1")
    )


def split_of(name: str) -> str | None:
    """The split that a folder or file is named for.

    >>> split_of("Valid"), split_of("glass")
    ('validation', None)
    """
    return next((split for split, names in SPLITS.items() if name.lower() in names), None)


def by_class(names: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Images with their classes, by split; all under ``""`` if no folders are named for splits.

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
    # a folder for a split holds folders of classes, not images
    deep = {top: all(len(parts[n]) > skip + 2 for n in inside) for top, inside in tops.items()}
    trains = [top for top, split in splits.items() if split == "train"]
    divided = bool(trains) and all(deep[top] for top in trains)
    divided = divided or (all(splits.values()) and all(deep.values()))

    images: dict[str, list[tuple[str, str]]] = {}
    for top, inside in tops.items():
        split = (splits[top] or "other") if divided else ""
        at = skip + 1 if divided else skip
        for name in inside:
            label = parts[name][at] if len(parts[name]) > at + 1 else ""
            images.setdefault(split, []).append((name, label))
    return images


def _around(parts: Sequence[Sequence[str]]) -> int:
    """How many folders lie around everything and are not named for a split."""
    skip = 0
    while parts and all(len(p) > skip + 2 for p in parts) and len({p[skip] for p in parts}) == 1:
        if split_of(parts[0][skip]):
            break
        skip += 1
    return skip
