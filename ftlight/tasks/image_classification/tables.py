"""Tables that name images by their paths."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ftlight.data import files
from ftlight.data.folders import SPLITS, by_class, split_of
from ftlight.data.label_columns import has_blanks, row_label, say_blanks
from ftlight.data.remarks import collected
from ftlight.tasks.image_classification import containers
from ftlight.tasks.image_classification.containers import Columns
from ftlight.tasks.image_classification.trees import Folder, Zip, images
from ftlight.utils.errors import UserError

TABLES = (".csv", ".tsv", ".jsonl")


class Entry(NamedTuple):
    """An image and its label.

    Attributes:
        container: folder, zip, Parquet file or hub data set (with its split) that holds it.
        name: its path there, or the number of its row; or the bytes of the image itself.
        shown: what a person knows it by.
        label: its label.
        line: line of the table, or its number in the folder.
    """

    container: str
    name: str | bytes
    shown: str
    label: str
    line: int | str


def path_tables(tree: Folder | Zip, names: Sequence[str], columns: Columns) -> dict[str, str]:
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
        divided = set(by_class(images(tree, names))) & set(SPLITS)
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


def from_table(
    container: str, table: str, base: str, path: Path, columns: Columns
) -> Iterator[Entry]:
    """Images that a table names by their paths."""
    root = "" if isinstance(containers.at(container), Zip) else container
    empty = True
    padded: list[int | str] = []
    for row in columns.read(path):
        files.need(row, columns.needed, table)
        empty, line = False, row[files.LINE]
        shown = files.cell(row, columns.image, table).strip()
        if not shown:
            raise UserError(f"{files.place(table, line)}: column {columns.image} has no path")
        name = inside(base, shown, root) or inside(base, shown.replace("\\", "/"), root)
        if name is None:
            raise outside(files.place(table, line), shown, container)
        if columns.label and has_blanks(row, columns.label):
            padded.append(line)
        label = row_label(row, columns.label, table) if columns.label else ""
        yield Entry(container, name, shown, label, line)
    say_blanks(padded, table)
    if empty:
        raise UserError(f"{table} has no rows")
