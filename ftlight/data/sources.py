"""Rows of a file or of a hub data set by one name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ftlight.data.files import Row, check, need, read
from ftlight.data.hub import read_hub
from ftlight.utils.errors import UserError


def open_rows(
    name: str, split: str, columns: Sequence[str], encoding: str = "utf-8"
) -> Iterator[Row]:
    """Yields the rows of a file or of a split of a hub data set, each with these columns.

    Raises:
        UserError: anything that cannot be read, a missing column, or no rows.
    """
    rows = read_hub(name, split, columns) if name.startswith("hf:") else read(check(name), encoding)
    empty = True
    for row in rows:
        need(row, columns, name)
        empty = False
        yield row
    if empty:
        raise UserError(f"{name} has a header but no rows")
