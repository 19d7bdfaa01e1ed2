"""Rows of images with labels, each image opened once, so that faults show before training."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from ftlight.data import files
from ftlight.data.tables import chunks
from ftlight.tasks.image_classification import containers, decoding
from ftlight.tasks.image_classification.containers import Columns
from ftlight.tasks.image_classification.entries import entries
from ftlight.tasks.image_classification.tables import Entry

CHUNK = 512  # images opened together
# Columns that no person reads.
CONTAINER, NAME = "__container", "__name"
FAULT, DONE, SAME = "__fault", "__done", "__same"


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
