"""Rows of images with labels: classes by folders, tables of paths, Parquet and the hub; each opened once, so that faults show first."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from ftlight.data import files
from ftlight.data.labelled import label_text
from ftlight.tasks.image_classification import containers, decoding
from ftlight.utils.errors import UserError, join_limited

TABLES = (".csv", ".tsv", ".jsonl")
CHUNK = 512  # images looked at together
CONTAINER, NAME, FAULT, DONE, SAME = (
    "__container",
    "__name",
    "__fault",
    "__done",
    "__same",
)  # columns that no person reads


class Entry(NamedTuple):
    """An image and its label.

    Attributes:
        container: folder, zip, Parquet file or hub data set (with its split) that holds it.
        name: its path there, or the number of its row.
        shown: what a person knows it by.
        label: its label.
        line: line of the table, or its number in the folder.
    """

    container: str
    name: str
    shown: str
    label: str
    line: int


# Tables of paths


@contextlib.contextmanager
def _table(place: str, name: str) -> Iterator[Path]:
    """A table in a folder or zip as a file; one in a zip is copied for as long as it is read."""
    if not containers.is_zip(place):
        yield Path(place).expanduser() / name
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / posixpath.basename(name)
        copy.write_bytes(containers.open_zip(place).read(name))
        try:
            yield copy
        except UserError as error:
            raise UserError(str(error).replace(str(copy), f"{place}/{name}")) from None


def tables(
    place: str, names: Sequence[str], image: str, label: str, encoding: str
) -> dict[str, str]:
    """Tables of paths at the top of a folder or zip, by the split they are named for; the only one is that of train."""
    found = [n for n in names if n.lower().endswith(TABLES)]
    top = min((n.count("/") for n in found), default=0)
    good = {}
    for name in (n for n in found if n.count("/") == top):
        with contextlib.suppress(UserError), _table(place, name) as path:
            row = next(iter(files.read(path, encoding)), {})
            if image in row and label in row:
                good[name] = containers.split_of(posixpath.basename(name).partition(".")[0])
    if len(good) == 1 and not any(
        good.values()
    ):  # beside folders for splits it is a list of all of them
        return (
            {}
            if set(containers.by_class(names)) & set(containers.SPLITS)
            else {"train": next(iter(good))}
        )
    return {split: name for name, split in good.items() if split}


def inside(base: str, path: str, root: str = "") -> str | None:
    """A path of a table as one below its container, or None where it leads out of it.

    Args:
        base: folder of the table in its container.
        path: path in the table, relative to it; or absolute, below root.
        root: the container, where that is a folder.

    >>> inside("shop", "img/1.jpg"), inside("", "../1.jpg"), inside("", "/data/1.jpg", "/data")
    ('shop/img/1.jpg', None, '1.jpg')
    """
    if os.path.isabs(path) and root:
        with contextlib.suppress(ValueError):
            return Path(path).relative_to(Path(root).expanduser().absolute()).as_posix()
    name = posixpath.normpath(posixpath.join(base, path))
    return (
        None
        if name in (".", "..")
        or name.startswith(("/", "../"))
        or re.match(r"[A-Za-z]:|\w+://", path)
        else name
    )


def _from_table(
    container: str, table: str, base: str, path: Path, image: str, label: str | None, encoding: str
) -> Iterator[Entry]:
    empty, root = True, "" if containers.is_zip(container) else container
    for row in files.read(path, encoding):
        files.need(row, [image, *([label] if label else [])], table)
        empty, line = False, row[files.LINE]
        given = files.as_text(row[image], table, line, image).strip()
        if not given:
            raise UserError(f"{table}:{line}: column {image} has no path")
        name = inside(base, given, root) or inside(base, given.replace("\\", "/"), root)
        if name is None:
            raise UserError(
                f"{table}:{line}: {given} leads out of {container}; set data.folder to the folder that the paths are in"
            )
        yield Entry(
            container,
            name,
            given,
            label_text(row[label], table, line, label) if label else "",
            line,
        )
    if empty:
        raise UserError(f"{table} has a header but no rows")


def _from_rows(container: str, image: str, label: str | None) -> Iterator[Entry]:
    import datasets

    table = containers.table_of(container)
    files.need(dict.fromkeys(table.column_names), [image, *([label] if label else [])], container)
    if (
        isinstance(table.features[image], datasets.Value)
        and "binary" not in table.features[image].dtype
    ):
        raise UserError(
            f"{container}: column {image} holds {table.features[image].dtype}, expected images"
        )
    feature = table.features[label] if label else None
    inner = getattr(feature, "feature", feature)
    names = inner.names if isinstance(inner, datasets.ClassLabel) else None
    values = table[label][:] if label else [""] * len(table)
    flat = table.flatten()
    paths = (
        flat[f"{image}.path"][:] if f"{image}.path" in flat.column_names else [None] * len(table)
    )
    for i, value in enumerate(values):
        if names is not None and value is not None:
            value = (
                [names[v] for v in value]
                if isinstance(value, list)
                else names[value]
                if value >= 0
                else ""
            )
        yield Entry(
            container,
            str(i),
            paths[i] or f"row {i + 1}",
            label_text(value, container, i + 1, label) if label else "",
            i + 1,
        )


# All of them


def entries(
    place: str, split: str, image: str, label: str | None, folder: str | None, encoding: str
) -> Iterator[Entry]:
    """Images of a split, with their labels.

    Args:
        place: folder or zip (of classes, of splits, or with tables), table of paths, Parquet file or hub data set.
        split: train, validation or test.
        image: column of the image or its path.
        label: column of the label; without one, labels are empty.
        folder: folder that the paths of a table are in; its own if not given.
        encoding: encoding of tables.

    Raises:
        UserError: there are none, or a label or path is missing.
    """
    if place.startswith("hf:"):
        return _from_rows(f"{place}#{split}", image, label)
    if containers.is_tree(place):
        return _from_tree(place, split, image, label, encoding)
    path = files.check(place)
    if containers.embedded(place, image):
        return _from_rows(place, image, label)
    return _from_table(folder or str(path.parent), place, "", path, image, label, encoding)


def _from_tree(
    place: str, split: str, image: str, label: str | None, encoding: str
) -> Iterator[Entry]:
    names = containers.members(place)
    found = tables(place, names, image, label or "label", encoding)
    if found and (split in found or len(found) > 1):
        if split not in found:
            raise UserError(
                f"{place} has no table for {split} (there are: {join_limited(found.values())})"
            )
        with _table(place, found[split]) as path:
            yield from _from_table(
                place,
                f"{place}/{found[split]}",
                posixpath.dirname(found[split]),
                path,
                image,
                label,
                encoding,
            )
        return
    divided = containers.by_class(names)
    chosen = divided.get("") or divided.get(split)
    if not chosen:
        there = (
            f"; there are folders for {join_limited(s for s in divided if s)}" if divided else ""
        )
        raise UserError(
            f"{place}: no images for {split}{there} (a folder of images for each class, or a table with columns {image} and {label})"
        )
    for line, (name, named) in enumerate(chosen, 1):
        if not named:
            raise UserError(
                f"{place}: {name} lies in no folder of a class; put it into one, or give a table with columns {image} and {label}"
            )
        yield Entry(place, name, name, named, line)


def splits(place: str, image: str, label: str, encoding: str) -> set[str]:
    """Splits that a folder or zip has, by its folders or tables."""
    names = containers.members(place)
    found = tables(place, names, image, label, encoding)
    if len(found) > 1:
        return set(found)
    divided = containers.by_class(
        names
    )  # a split without classes, as of a competition, is none to measure
    return {s for s in containers.SPLITS if s in divided and all(label for _, label in divided[s])}


def check(entry: Entry, image: str, most: int, white: int, full: bool) -> tuple[str, str, str]:
    """Why an image cannot be used, or nothing; what is done to it when it is opened, joined with ``|``; digest of its file.

    Args:
        entry: the image.
        image: column of images, where there are rows.
        most: the most pixels.
        white: value of 16-bit gray that is white.
        full: whether it is decoded, or only its header read.
    """
    try:
        data = containers.read(entry.container, entry.name, image)
        same = hashlib.blake2b(data, digest_size=12).hexdigest()
        if full:
            return "", "|".join(decoding.decode(data, most, white)[1]), same
        decoding.header(data, most)
    except decoding.Bad as error:
        return str(error), "", ""
    return "", "", same


def read_rows(
    place: str,
    split: str,
    stamp: str,
    image: str,
    label: str,
    folder: str | None,
    encoding: str,
    max_pixels: int,
    white: int,
    full: bool,
    code: str,
    digest: str,
) -> Iterator[files.Row]:
    """Rows of a split, each image opened once: ``image`` (what a person knows it by), ``label``, ``line``, where it is, its fault."""
    found = entries(place, split, image, label, folder, encoding)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while chunk := list(itertools.islice(found, CHUNK)):
            checked = pool.map(lambda entry: check(entry, image, max_pixels, white, full), chunk)
            for entry, (fault, done, same) in zip(chunk, checked, strict=True):
                about = {
                    CONTAINER: entry.container,
                    NAME: entry.name,
                    FAULT: fault,
                    DONE: done,
                    SAME: same,
                }
                yield {"image": entry.shown, "label": entry.label, "line": entry.line, **about}
