"""Rows that hold the images themselves: Parquet files, and data sets of the hub."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from ftlight.data import files, hub
from ftlight.utils.errors import UserError, first_line


class Parquet:
    """Rows of a Parquet file that hold the images themselves, each named by its row number.

    Args:
        place: the file.
    """

    def __init__(self, place: str) -> None:
        self.place = place

    def rows(self) -> Any:
        """The table, with images as they are stored."""
        return _parquet_rows(self.place, Path(self.place).expanduser().stat().st_mtime_ns)

    def read(self, name: str, column: str) -> bytes:
        """The bytes of an image."""
        value = self.rows()[int(name)][column]
        return (value["bytes"] if isinstance(value, dict) else value) or b""

    def digest(self, times: bool) -> str:
        """SHA-256 of the file."""
        return files.sha256(files.check(self.place))


class Hub(Parquet):
    """Rows of a split of a hub data set, named ``hf:NAME#SPLIT``."""

    def rows(self) -> Any:
        """The table, with images as they are stored."""
        return _hub_rows(self.place)


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


@functools.lru_cache(4)
def _parquet_rows(place: str, changed: int) -> Any:
    import datasets

    try:
        table = datasets.Dataset.from_parquet(str(Path(place).expanduser()))
    except datasets.exceptions.DatasetGenerationError as error:
        why = first_line(error.__cause__ or error)
        raise UserError(f"{place}: not a readable Parquet file ({why})") from None
    return _undecoded(table)


@functools.lru_cache(4)
def _hub_rows(place: str) -> Any:
    name, _, split = place.rpartition("#")
    return _undecoded(hub.load_split(name, split))


def _undecoded(table: Any) -> Any:
    """A table that gives images as they are stored."""
    import datasets

    for column, feature in table.features.items():
        if isinstance(feature, datasets.Image):
            table = table.cast_column(column, datasets.Image(decode=False))
    return table
