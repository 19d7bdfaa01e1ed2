"""Images to predict: one file, all of a folder or zip, or those that a table names or holds."""

from __future__ import annotations

from pathlib import Path

from ftlight.data import files
from ftlight.data.remarks import remark
from ftlight.tasks.image_classification import containers
from ftlight.tasks.image_classification.embedded import embedded
from ftlight.tasks.image_classification.entries import entries, left_out
from ftlight.tasks.image_classification.tables import Entry, inside, outside
from ftlight.tasks.image_classification.trees import images
from ftlight.utils.errors import UserError


def rows_of(name: str, columns: containers.Columns) -> list[files.Row] | None:
    """The images of a place as rows; None if it is a table of paths.

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
        return [{columns.image: member, files.LINE: i} for i, member in enumerate(found, 1)]
    if embedded(name, columns.image):
        found_rows = entries(name, "", columns._replace(label=None))
        return [{columns.image: e.shown, files.LINE: e.line} for e in found_rows]
    return None


def entry(row: files.Row, place: str, listed: bool, columns: containers.Columns) -> Entry:
    """Where an image to predict is: below the folder, zip or table given, else at any path.

    Args:
        row: a row with the column of images.
        place: file of the rows, for errors.
        listed: whether the rows were read from that file.
        columns: columns of a table.

    Raises:
        UserError: the row has no such column, or its path leads out of the table's folder.
    """
    files.need(row, [columns.image], place)
    shown, line = files.cell(row, columns.image, place), int(row[files.LINE])
    # rows in Python or of standard input
    if not listed or containers.is_image_file(place):
        return Entry("", str(Path(shown).expanduser()), shown, "", line)
    if containers.tree(place) is not None:
        return Entry(place, shown, shown, "", line)
    if embedded(place, columns.image):
        return Entry(place, str(line - 1), shown, "", line)
    root = columns.folder or str(Path(place).parent)
    name = inside("", shown, root)
    if name is None:
        raise outside(f"{place}:{line}", shown, root)
    return Entry(root, name, shown, "", line)
