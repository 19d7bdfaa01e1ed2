"""Files of images where they are: in folders, in a zip that is read in place, in Parquet and hub data sets; and classes by folders."""

from __future__ import annotations

import functools
import hashlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftlight.data import files
from ftlight.data.hub import load_hub
from ftlight.tasks.image_classification import archives, decoding
from ftlight.utils.errors import UserError, did_you_mean, join_limited

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
MOST = 2**28  # bytes of an image file


# Containers


def is_zip(place: str) -> bool:
    """Whether a place is a zip, by its name."""
    return place.lower().endswith(".zip")


def is_tree(place: str) -> bool:
    """Whether a place is a folder or a zip."""
    return not place.startswith("hf:") and (is_zip(place) or Path(place).expanduser().is_dir())


def open_zip(place: str) -> zipfile.ZipFile:
    """An open zip, one for each process: two that share one would move each other's place in it."""
    return _open_zip(place, os.getpid(), Path(place).expanduser().stat().st_mtime_ns)


@functools.lru_cache(8)
def _open_zip(place: str, process: int, changed: int) -> zipfile.ZipFile:
    path = Path(place).expanduser()
    try:
        found = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{place}: not a readable zip ({error})") from None
    if fault := archives.fault(found.infolist(), path.stat().st_size):
        found.close()
        raise UserError(f"{place}: {fault}")
    return found


def members(place: str) -> list[str]:
    """Names of all files in a folder or zip, sorted, with ``/``; hidden ones are left out.

    Raises:
        UserError: there is no such zip.
    """
    if is_zip(place):
        files.check(place, suffixes=(".zip",))
        names = [i.filename for i in open_zip(place).infolist() if not i.is_dir()]
    else:
        root, seen, names = Path(place).expanduser(), set(), []
        for folder, below, found in os.walk(root, followlinks=True):
            real = os.path.realpath(folder)
            below[:] = (
                [] if real in seen else below
            )  # a link to a folder above would go round for ever
            seen.add(real)
            names += [(Path(folder) / name).relative_to(root).as_posix() for name in found]
    return sorted(
        n
        for n in names
        if not any(part != "." and part.startswith((".", "__MACOSX")) for part in n.split("/"))
    )


def table_of(place: str) -> Any:
    """The rows of a Parquet file, or of a split of a hub data set (``hf:NAME#split``), with images as they are stored."""
    return _table_of(
        place, 0 if place.startswith("hf:") else Path(place).expanduser().stat().st_mtime_ns
    )


@functools.lru_cache(4)
def _table_of(place: str, changed: int) -> Any:
    import datasets

    if place.startswith("hf:"):
        name, _, split = place.rpartition("#")
        found = load_hub(name)
        if split not in found:
            raise UserError(
                f"{name} has no split {split}{did_you_mean(split, found)} (splits: {join_limited(found)})"
            )
        table = found[split]
    else:
        table = datasets.Dataset.from_parquet(str(Path(place).expanduser()))
    for column, feature in table.features.items():
        if isinstance(feature, datasets.Image):
            table = table.cast_column(column, datasets.Image(decode=False))
    return table


def read(container: str, name: str, column: str) -> bytes:
    """The bytes of an image file.

    Args:
        container: folder, zip, Parquet file or hub data set.
        name: its path there, or the number of its row.
        column: column of images, where there are rows.

    Raises:
        Bad: it cannot be had; says why.
    """
    try:
        if container.startswith("hf:") or container.lower().endswith(".parquet"):
            value = table_of(container)[int(name)][column]
            return (value["bytes"] if isinstance(value, dict) else value) or b""
        if is_zip(container):
            found = open_zip(container)
            if found.getinfo(name).file_size > MOST:
                raise decoding.Bad(f"it is larger than {MOST >> 20} MB")
            return found.read(name)
        path = Path(container).expanduser() / name
        if path.stat().st_size > MOST:
            raise decoding.Bad(f"it is larger than {MOST >> 20} MB")
        return path.read_bytes()
    except (FileNotFoundError, KeyError):
        raise decoding.Bad("no such file") from None
    except (
        OSError,
        RuntimeError,
        NotImplementedError,
        zipfile.BadZipFile,
    ) as error:  # permission, password, method, checksum
        raise decoding.Bad(
            f"it cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from None


def digest(place: str, folder: str | None, image: str, encoding: str, times: bool = False) -> str:
    """What tells the content: SHA-256 of a file, of names and sizes in a folder, and of the files that a table names.

    Args:
        place: folder, zip, table or hub data set.
        folder: folder of the paths in a table.
        image: column of images.
        encoding: encoding of a table.
        times: whether times of change count: for what is kept of the images, not for a run, whose data may be copied.
    """
    if place.startswith("hf:"):
        return ""
    path = Path(place).expanduser()
    if path.is_dir():
        return _stats(path, members(place), times)
    own = files.sha256(files.check(place, suffixes=(*files.SUFFIXES, ".zip")))
    if is_zip(place) or embedded(place, image):
        return own
    root = Path(folder).expanduser() if folder else path.parent
    named = [str(row.get(image)) for row in files.read(path, encoding)]
    return hashlib.sha256((own + _stats(root, named, times)).encode()).hexdigest()


def _stats(root: Path, names: Sequence[str], times: bool) -> str:
    found = hashlib.sha256()
    for name in names:
        try:
            stat = (root / name).stat()
            found.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns if times else ''}\n".encode())
        except (OSError, ValueError):
            found.update(f"{name}\0missing\n".encode())
    return found.hexdigest()


def embedded(place: str, image: str) -> bool:
    """Whether a Parquet file holds the images themselves, not paths."""
    if not place.lower().endswith(".parquet"):
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(Path(place).expanduser())
    except (pa.ArrowException, OSError):
        return False  # the reader says what is wrong with it
    kind = schema.field(image).type if image in schema.names else pa.string()
    return pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


# Folders of classes


def split_of(name: str) -> str | None:
    """The split that a folder or file is named for.

    >>> split_of("Valid"), split_of("glass")
    ('validation', None)
    """
    return next((split for split, names in SPLITS.items() if name.lower() in names), None)


def by_class(names: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Images with their classes, by split; all under ``""`` where no folders are named for splits.

    The class is the folder below the split's, or the first. A folder around everything is passed over.

    >>> by_class(["set/train/cat/1.jpg", "set/train/dog/a/2.jpg", "set/val/cat/3.jpg"])["validation"]
    [('set/val/cat/3.jpg', 'cat')]
    >>> by_class(["cat/1.jpg", "2.jpg"])[""]
    [('cat/1.jpg', 'cat'), ('2.jpg', '')]
    """
    parts = {n: n.split("/") for n in names if n.lower().endswith(files.IMAGE_SUFFIXES)}
    skip = 0
    while (
        parts
        and all(len(p) > skip + 2 for p in parts.values())
        and len({p[skip] for p in parts.values()}) == 1
    ):
        if split_of(next(iter(parts.values()))[skip]):
            break
        skip += 1
    tops: dict[str, list[str]] = {}
    for name, part in parts.items():
        tops.setdefault(part[skip] if len(part) > skip + 1 else "", []).append(name)
    named = {top: split_of(top) for top in tops}
    divided = "train" in named.values() and all(
        len(parts[n]) > skip + 2 for top, s in named.items() if s == "train" for n in tops[top]
    )
    divided = divided or (all(named.values()) and all(len(p) > skip + 2 for p in parts.values()))
    found: dict[str, list[tuple[str, str]]] = {}
    for top, inside in tops.items():
        split = (named[top] or "other") if divided else ""
        at = skip + 1 if divided else skip
        found.setdefault(split, []).extend(
            (n, parts[n][at] if len(parts[n]) > at + 1 else "") for n in inside
        )
    return found
