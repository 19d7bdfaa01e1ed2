"""Whether a place holds images with labels, as ``init`` asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftlight.data import label_survey
from ftlight.data.recognition import LABELS, Content, Look, Options, Shape
from ftlight.data.sources import Source
from ftlight.tasks.image_classification.folders import is_image
from ftlight.utils.errors import UserError, join_limited

SKIP = {"on_bad_image": "skip"}  # images are opened only by fit
COMMENT = {"on_bad_image": "images that cannot be read are named, counted and left out"}


def recognize(look: Look) -> Shape | None:
    """A folder or zip of images, a table of their paths, or one that holds them."""
    if look.source.is_tree:
        if not holds_images(look.source.name):
            return None
        return Shape(SKIP, "a folder of images for each class", COMMENT)
    found = _column(look)
    if found is None:
        return None
    image, embedded = found
    label = look.label or look.named(LABELS)
    if not label:
        others = [c for c in look.first if c and c != image]
        label = min(others, key=lambda c: len(set(map(str, look.values(c)))), default="label")
    names = {"image": image, "label": label}
    options = {**{k: v for k, v in names.items() if k != v}, **SKIP}
    if embedded:
        return Shape(options, f"images in column {image}", COMMENT)
    folder = _folder(look, image)
    return Shape({**options, **folder}, "paths of images", COMMENT)


def holds_images(place: str) -> bool:
    """Whether a folder or zip holds images."""
    from ftlight.tasks.image_classification import containers, trees

    tree = containers.tree(place)
    return tree is not None and bool(trees.images(tree, tree.names()))


def _column(look: Look) -> tuple[str, bool] | None:
    """The column of images or their paths, and whether it holds the images themselves."""
    for column, value in look.first.items():
        if isinstance(value, bytes) or (isinstance(value, Mapping) and "bytes" in value):
            return column, True
        if isinstance(value, str) and is_image(value) and "\n" not in value:
            return column, False
    return None


def _folder(look: Look, image: str) -> dict[str, Any]:
    """The folder that the paths of a table are relative to, unless that is its own.

    Raises:
        UserError: no image is where the table says.
    """
    own = look.source.path.parent
    paths = [str(path).strip().replace("\\", "/") for path in look.values(image)]
    for folder in [own, *sorted(p for p in own.iterdir() if p.is_dir())]:
        if any((folder / path).is_file() for path in paths):
            return {} if folder == own else {"folder": str(folder)}
    raise UserError(
        f"{look.source.name}: column {image} names {join_limited(paths, 2)}, but no such image is"
        f" in {own} or a folder there; put the images there"
    )


def survey(source: Source, options: Options, train: Content | None = None) -> Content:
    """What a split holds; images are not opened.

    Raises:
        UserError: there are none, or one has no label.
    """
    from ftlight.tasks.image_classification import containers, entries

    names = options.get("image", "image"), options.get("label", "label")
    columns = containers.Columns(
        *names, options.get("folder"), source.encoding, source.quotes, source.header
    )
    place = source.name
    found = list(entries.entries(place, source.split, columns))
    cells, lines = [entry.label for entry in found], [entry.line for entry in found]
    column = names[1] if not source.is_tree else "of the folders"
    content = label_survey.survey(cells, lines, place, column, train)
    splits = sorted(entries.splits(place, columns) - {source.split}, reverse=True)
    notes = list(content.notes)
    for split in splits:
        count = sum(1 for _ in entries.entries(place, split, columns))
        notes.append(f"{split}: {count:,} images in it")
    return content._replace(unit="images", notes=notes, splits=splits)
