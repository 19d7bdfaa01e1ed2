"""Rows of images with labels, each image opened once, so that faults show before training."""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.data import files, hub
from ftlight.data.label_columns import label_text, row_label
from ftlight.data.remarks import collected, remark
from ftlight.data.tables import chunks
from ftlight.tasks.image_classification import containers, decoding
from ftlight.tasks.image_classification.containers import Columns, Folder, Zip
from ftlight.tasks.image_classification.embedded import Hub, Parquet, embedded
from ftlight.tasks.image_classification.folders import SPLITS, by_class, split_of
from ftlight.utils.errors import UserError, join_limited

TABLES = (".csv", ".tsv", ".jsonl")
CHUNK = 512  # images opened together
# Columns that no person reads.
CONTAINER, NAME = "__container", "__name"
FAULT, DONE, SAME = "__fault", "__done", "__same"


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


def tables(tree: Folder | Zip, names: Sequence[str], columns: Columns) -> dict[str, str]:
    """Tables of paths at the top of a folder or zip, by the split they are named for.

    A single one without such a name is that of train, unless folders are named for splits: then it
    lists all of them.
    """
    found = [name for name in names if name.lower().endswith(TABLES)]
    top = min((name.count("/") for name in found), default=0)
    split_by_table: dict[str, str | None] = {}
    for name in found:
        if name.count("/") > top:
            continue
        with contextlib.suppress(UserError), tree.table(name) as path, collected():
            row = next(columns.read(path), {})
            if columns.image in row and all(c in row for c in columns.labels or ["label"]):
                split_by_table[name] = split_of(posixpath.basename(name).partition(".")[0])
    if len(split_by_table) == 1 and not any(split_by_table.values()):
        divided = set(by_class(containers.images(tree, names))) & set(SPLITS)
        return {} if divided else {"train": next(iter(split_by_table))}
    return {split: name for name, split in split_by_table.items() if split}


def inside(base: str, path: str, root: str = "") -> str | None:
    """A path of a table as one below its container, or None if it leads out of it.

    Args:
        base: folder of the table in its container.
        path: path in the table, relative to it; or absolute, below root.
        root: the container, if that is a folder.

    >>> inside("shop", "img/1.jpg"), inside("", "../1.jpg"), inside("", "/data/1.jpg", "/data")
    ('shop/img/1.jpg', None, '1.jpg')
    """
    if os.path.isabs(path) and root:
        with contextlib.suppress(ValueError):
            return Path(path).relative_to(Path(root).expanduser().absolute()).as_posix()
    name = posixpath.normpath(posixpath.join(base, path))
    leads_out = name in (".", "..") or name.startswith(("/", "../"))
    return None if leads_out or re.match(r"[A-Za-z]:|\w+://", path) else name


def outside(place: str, path: str, container: str) -> UserError:
    """The error of a path that leads out of its container; ``place`` is its file and line."""
    return UserError(
        f"{place}: {path} leads out of {container};"
        " set data.folder to the folder that the paths are in"
    )


def _from_table(
    container: str, table: str, base: str, path: Path, columns: Columns
) -> Iterator[Entry]:
    """Images that a table names by their paths."""
    root = "" if isinstance(containers.at(container), Zip) else container
    empty = True
    for row in columns.read(path):
        files.need(row, columns.needed, table)
        empty, line = False, row[files.LINE]
        shown = files.cell(row, columns.image, table).strip()
        if not shown:
            raise UserError(f"{table}:{line}: column {columns.image} has no path")
        name = inside(base, shown, root) or inside(base, shown.replace("\\", "/"), root)
        if name is None:
            raise outside(f"{table}:{line}", shown, container)
        label = row_label(row, columns.label, table) if columns.label else ""
        yield Entry(container, name, shown, label, line)
    if empty:
        raise UserError(f"{table} has no rows")


def _from_rows(rows: Parquet, columns: Columns) -> Iterator[Entry]:
    """Images that a table holds."""
    import datasets

    table, place = rows.rows(), rows.place
    image, label = columns.image, columns.label
    files.need(table.features, columns.needed, place)
    feature = table.features[image]
    if isinstance(feature, datasets.Value) and "binary" not in feature.dtype:
        raise UserError(f"{place}: column {image} holds {feature.dtype}, expected images")
    paths: list[Any] = [None] * len(table)
    flat = table.flatten()
    if f"{image}.path" in flat.column_names:
        paths = flat[f"{image}.path"][:]
    labels = _labels(table, label, place) if label else [""] * len(table)
    for i, path in enumerate(paths):
        yield Entry(place, str(i), path or f"row {i + 1}", labels[i], i + 1)


def _labels(table: Any, label: str | tuple[str, ...], place: str) -> list[str]:
    """The labels of a table that holds images, as text."""
    if isinstance(label, tuple):
        cells = [table[column][:] for column in label]
        rows = [dict(zip(label, row, strict=True)) for row in zip(*cells, strict=True)]
        return [row_label({**row, files.LINE: i}, label, place) for i, row in enumerate(rows, 1)]
    names, texts = hub.class_names(table.features[label]), []
    for i, value in enumerate(table[label][:], 1):
        missing = names is not None and isinstance(value, int) and value < 0
        texts.append("" if missing else label_text(hub.named(value, names), place, i, label))
    return texts


# All of them


def entries(place: str, split: str, columns: Columns) -> Iterator[Entry]:
    """Images of a split, with their labels.

    Args:
        place: folder or zip (of classes, of splits, or with tables), table of paths, Parquet file
            or hub data set.
        split: train, validation or test.
        columns: columns of a table.

    Raises:
        UserError: there are none, or a label or path is missing.
    """
    if place.startswith(hub.PREFIX):
        return _from_rows(Hub(f"{place}#{split}"), columns)
    tree = containers.tree(place)
    if tree is not None:
        return _from_tree(tree, split, columns)
    path = files.check(place)
    if embedded(place, columns.image):
        return _from_rows(Parquet(place), columns)
    return _from_table(columns.folder or str(path.parent), place, "", path, columns)


def _from_tree(tree: Folder | Zip, split: str, columns: Columns) -> Iterator[Entry]:
    """Images of a folder or zip, by its tables or by folders of classes."""
    place, names = tree.place, tree.names()
    if tree.remark():
        remark(tree.remark())
    found = tables(tree, names, columns)
    if found and (split in found or len(found) > 1):
        if split not in found:
            there = join_limited(found.values())
            raise UserError(f"{place} has no table for {split} (there are: {there})")
        name = found[split]
        with tree.table(name) as path:
            yield from _from_table(place, f"{place}/{name}", posixpath.dirname(name), path, columns)
        return
    found_images = containers.images(tree, names)
    divided = by_class(found_images)
    images = divided.get("") or divided.get(split)
    table = f"a table with columns {join_limited(columns.needed)}"
    if not images:
        folders = join_limited(filter(None, divided))
        there = f"; there are folders for {folders}" if divided else ""
        raise UserError(
            f"{place}: no images for {split}{there} (a folder of images for each class, or {table})"
        )
    _remark_left_out(place, names, found_images, divided.get("other", []))
    for line, (name, label) in enumerate(images, 1):
        if not label:
            raise UserError(
                f"{place}: {name} is in no folder of a class; move it into one, or give {table}"
            )
        yield Entry(place, name, name, label, line)


def left_out(place: str, names: Sequence[str], images: Sequence[str]) -> str:
    """A line about the files that are no images, or nothing."""
    rest = sorted(set(names) - set(images))
    few = f"{len(rest):,} files are no images and left out, such as"
    return f"{place}: {few} {rest[0]}" if rest else ""


def _remark_left_out(
    place: str, names: Sequence[str], images: Sequence[str], other: Sequence[tuple[str, str]]
) -> None:
    """Says which files of a folder of classes are not read."""
    if line := left_out(place, names, images):
        remark(line)
    if other:
        remark(
            f"{place}: {len(other):,} images are in folders that are no split and left out,"
            f" such as {other[0][0]}"
        )


def splits(place: str, columns: Columns) -> set[str]:
    """Splits that a folder or zip has, by its folders or tables."""
    tree = containers.tree(place)
    if tree is None:
        return set()
    names = tree.names()
    found = tables(tree, names, columns)
    if len(found) > 1:
        return set(found)
    # a split without classes, such as that of a competition, cannot be measured
    divided = by_class(containers.images(tree, names))
    return {s for s in SPLITS if s in divided and all(label for _, label in divided[s])}


def check(entry: Entry, image: str, most: int, white: int, full: bool) -> tuple[str, str, str]:
    """Opens an image.

    Args:
        entry: the image.
        image: column of images, if there are rows.
        most: the most pixels.
        white: value of 16-bit gray that is white.
        full: whether it is decoded, or only its header read.

    Returns:
        Why it cannot be used, or nothing; what decoding changes, joined with ``|``; and the digest
        of its file.
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
    columns: Columns,
    max_pixels: int,
    white: int,
    full: bool,
    stamp: str,
    code: str,
    digest: str,
) -> Iterator[files.Row]:
    """Yields the rows of a split, each image opened once.

    Yields:
        ``image`` (what a person knows it by), ``label``, ``line``, where it is, and its fault.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for chunk in chunks(entries(place, split, columns), CHUNK):
            checked = pool.map(
                lambda entry: check(entry, columns.image, max_pixels, white, full), chunk
            )
            for entry, (fault, done, same) in zip(chunk, checked, strict=True):
                yield {
                    "image": entry.shown,
                    "label": entry.label,
                    "line": entry.line,
                    CONTAINER: entry.container,
                    NAME: entry.name,
                    FAULT: fault,
                    DONE: done,
                    SAME: same,
                }
