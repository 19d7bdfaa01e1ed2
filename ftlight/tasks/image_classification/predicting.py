"""Images to predict: one file, all of a folder or zip, or those that a table names or holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ftlight.data import files
from ftlight.data.remarks import remark
from ftlight.tasks.image_classification import containers
from ftlight.tasks.image_classification.embedded import embedded
from ftlight.tasks.image_classification.entries import entries, left_out
from ftlight.tasks.image_classification.tables import Entry, inside, outside
from ftlight.tasks.image_classification.trees import Folder, Zip, images
from ftlight.utils.errors import UserError


def rows_of(name: str, columns: containers.Columns) -> list[files.Row] | None:
    """The images of a place as rows; None if it is a table of paths.

    Images of a folder have paths that can be opened from where one stands.

    Raises:
        UserError: a folder or zip holds no images.
    """
    if containers.is_image_file(name):
        return [{columns.image: name, files.LINE: 1}]
    tree = containers.tree(name)
    if tree is not None:
        names = tree.names()
        found = images(tree, names)
        if not found:
            raise UserError(f"{name} holds no images")
        for line in filter(None, (tree.remark(), left_out(name, names, found))):
            remark(line)
        root = Path(name) if isinstance(tree, Folder) else Path()
        return [
            {columns.image: str(root / member), files.LINE: i} for i, member in enumerate(found, 1)
        ]
    if embedded(name, columns.image):
        found_rows = entries(name, "", columns._replace(label=None))
        return [{columns.image: e.shown, files.LINE: e.line} for e in found_rows]
    return None


def usable(row: files.Row, table: str, columns: containers.Columns) -> files.Row:
    """A row of a table with a path that can be opened from where one stands.

    Raises:
        UserError: the path leads out of the table's folder.
    """
    files.need(row, [columns.image], table)
    shown = files.cell(row, columns.image, table)
    root = columns.folder or str(Path(table).parent)
    if not shown.strip():
        return dict(row)
    name = inside("", shown, root)
    if name is None:
        raise outside(files.place(table, row[files.LINE]), shown, root)
    path = shown if Path(shown).is_absolute() else str(Path(root) / name)
    return {**row, columns.image: path}


def entry(row: files.Row, place: str, listed: bool, columns: containers.Columns) -> Entry:
    """Where an image to predict is: in the zip or table given that holds it, else at any path.

    A cell of bytes is the image itself.

    Args:
        row: a row with the column of images.
        place: file of the rows, for errors.
        listed: whether the rows were read from that file.
        columns: columns of a table.

    Raises:
        UserError: the row has no such column.
    """
    files.need(row, [columns.image], place)
    if isinstance(row[columns.image], bytes):
        return Entry("", row[columns.image], f"image {row[files.LINE]}", "", row[files.LINE])
    shown, line = files.cell(row, columns.image, place), row[files.LINE]
    if listed and isinstance(containers.tree(place), Zip):
        return Entry(place, shown, shown, "", line)
    if listed and embedded(place, columns.image):
        return Entry(place, str(int(line) - 1), shown, "", line)
    return Entry("", str(Path(shown).expanduser()), shown, "", line)


def faults(entries: Sequence[Entry], check: Callable[[Entry], str]) -> dict[int, str]:
    """Which images cannot be used, by their number from 0, and why.

    Args:
        entries: where the images are.
        check: says why an image cannot be used, or nothing.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(check, entries))
    pairs = enumerate(zip(entries, found, strict=True))
    named = {
        i: entry.shown or files.places([entry.line], 1) for i, (entry, fault) in pairs if fault
    }
    return {i: f"{name} ({found[i]})" for i, name in named.items()}
