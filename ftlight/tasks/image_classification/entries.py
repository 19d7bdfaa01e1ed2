"""Images of a split with their labels: of a folder, a zip, a table of paths, Parquet or the hub."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from ftlight.data import files, hub
from ftlight.data.folders import SPLITS, by_class
from ftlight.data.label_columns import has_blanks, label_text, row_label, say_blanks
from ftlight.data.remarks import remark
from ftlight.tasks.image_classification import containers
from ftlight.tasks.image_classification.containers import Columns
from ftlight.tasks.image_classification.embedded import Hub, Parquet, embedded
from ftlight.tasks.image_classification.tables import Entry, from_table, path_tables
from ftlight.tasks.image_classification.trees import Folder, Zip, images
from ftlight.utils.errors import UserError, join_limited
from ftlight.utils.format import counted


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
    return from_table(columns.folder or str(path.parent), place, "", path, columns)


def _from_tree(tree: Folder | Zip, split: str, columns: Columns) -> Iterator[Entry]:
    """Images of a folder or zip, by its tables or by folders of classes."""
    place, names = tree.place, tree.names()
    if tree.remark():
        remark(tree.remark())
    found = path_tables(tree, names, columns)
    if found and (split in found or len(found) > 1):
        if split not in found:
            there = join_limited(found.values())
            raise UserError(f"{place} has no table for {split} (there are: {there})")
        name = found[split]
        with tree.table(name) as path:
            yield from from_table(place, f"{place}/{name}", posixpath.dirname(name), path, columns)
        return
    found_images = images(tree, names)
    divided = by_class(found_images)
    of_split = divided.get("") or divided.get(split)
    table = f"a table with columns {join_limited(columns.needed)}"
    if not of_split:
        folders = join_limited(filter(None, divided))
        there = f"; there are folders for {folders}" if divided else ""
        raise UserError(
            f"{place}: no images for {split}{there} (a folder of images for each class, or {table})"
        )
    _remark_left_out(place, names, found_images, divided.get("other", []))
    for line, (name, label) in enumerate(of_split, 1):
        if not label:
            raise UserError(
                f"{place}: {name} is in no folder of a class; move it into one, or give {table}"
            )
        yield Entry(place, name, name, label, line)


def left_out(place: str, names: Sequence[str], images: Sequence[str]) -> str:
    """A line about the files that are no images, or nothing."""
    rest = sorted(set(names) - set(images))
    few = f"{counted(len(rest), 'file', 'are')} left out, no image by name, such as"
    return f"{place}: {few} {rest[0]}" if rest else ""


def _remark_left_out(
    place: str, names: Sequence[str], images: Sequence[str], other: Sequence[tuple[str, str]]
) -> None:
    """Says which files of a folder of classes are not read."""
    if line := left_out(place, names, images):
        remark(line)
    if other:
        remark(
            f"{place}: {counted(len(other), 'image', 'are')} in folders that are no split"
            f" and left out, such as {other[0][0]}"
        )


def splits(place: str, columns: Columns) -> set[str]:
    """Splits that a folder or zip has, by its folders or tables."""
    tree = containers.tree(place)
    if tree is None:
        return set()
    names = tree.names()
    found = path_tables(tree, names, columns)
    if len(found) > 1:
        return set(found)
    # a split without classes, such as that of a competition, cannot be measured
    divided = by_class(images(tree, names))
    return {s for s in SPLITS if s in divided and all(label for _, label in divided[s])}


def _labels(table: Any, label: str | tuple[str, ...], place: str) -> list[str]:
    """The labels of a table that holds images, as text."""
    if isinstance(label, tuple):
        cells = [table[column][:] for column in label]
        rows = [dict(zip(label, row, strict=True)) for row in zip(*cells, strict=True)]
        return [row_label({**row, files.LINE: i}, label, place) for i, row in enumerate(rows, 1)]
    names, texts, values = hub.class_names(table.features[label]), [], table[label][:]
    padded = [i for i, value in enumerate(values, 1) if has_blanks({label: value}, label)]
    say_blanks(padded, place)
    for i, value in enumerate(values, 1):
        missing = names is not None and isinstance(value, int) and value < 0
        texts.append("" if missing else label_text(hub.named(value, names), place, i, label))
    return texts
