"""Tables on the disk, and their values by columns."""

from __future__ import annotations

from collections.abc import Iterator

import datasets
import numpy as np
import pyarrow as pa
import pytest

from ftlight.data import tables
from ftlight.data.tables import Columns


def made(rows: int) -> Iterator[Columns]:
    for start in range(0, rows, 700):
        numbers = list(range(start, min(rows, start + 700)))
        yield {
            "text": [f"row {n}" for n in numbers],
            "input_ids": [[n] * (n % 3) for n in numbers],
            "line": numbers,
        }


def test_values_are_those_of_the_rows_however_they_are_left_out_and_moved() -> None:
    table = tables.cached_table("values", lambda: made(2500))
    assert table.cache_files  # memory-mapped
    assert table.features["input_ids"] == datasets.List(datasets.Value("int32"))
    rng = np.random.default_rng(0)
    for rows in (
        np.arange(2500),
        np.flatnonzero(np.arange(2500) % 7),
        rng.permutation(2500),
        rng.permutation(2500)[:30],
    ):
        some = table.select(rows)
        for name in table.column_names:
            assert tables.column(some, name) == list(some[name])
        assert [n for part in tables.batches(some, ["line"]) for n in part["line"]] == rows.tolist()
    assert tables.column(table.select([]), "line") == []


def test_a_table_is_made_once_and_never_by_halves() -> None:
    def breaks() -> Iterator[Columns]:
        yield from made(700)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        tables.cached_table("once", breaks)
    assert tables.column(tables.cached_table("once", lambda: made(900)), "line") == list(range(900))
    again = tables.cached_table("once", breaks)
    assert len(again) == 900
    assert again._fingerprint == "once"


def test_batches_without_rows_do_not_tell_the_types() -> None:
    nothing: Columns = {"input_ids": [], "line": []}
    table = tables.cached_table(
        "types", lambda: [nothing, {"input_ids": [[1]], "line": [1]}, nothing]
    )
    assert table[0] == {"input_ids": [1], "line": 1}
    assert len(tables.cached_table("nothing", lambda: [nothing])) == 0


def test_whole_numbers_in_lists_of_lists_are_small_too() -> None:
    table = tables.cached_table("nested", lambda: [{"input_ids": [[[1, 2], [3]]], "ids": [[[1]]]}])
    assert table.data.schema.field("input_ids").type == pa.list_(pa.list_(pa.int32()))
    assert table[0] == {"input_ids": [[1, 2], [3]], "ids": [[1]]}
