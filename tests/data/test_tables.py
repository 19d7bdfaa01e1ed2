"""Tables on the disk, and their values by columns."""

from __future__ import annotations

import logging
import multiprocessing
import re
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from conftest import ROOT, each
from damage import damaged, largest_file

from ftlight.data import tables
from ftlight.data.remarks import remark
from ftlight.data.tables import Columns
from ftlight.utils import internals
from ftlight.utils.sealed import unseal


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


def test_a_further_column_goes_through_the_cache_too(own: Path) -> None:
    table = tables.cached_table("table", lambda: made(900)).select([5, 3, 8])
    more = tables.with_column(table, "more", ["a", "b", "c"])
    assert more["more"][:] == ["a", "b", "c"]
    assert more["line"][:] == [5, 3, 8]
    assert more.features["input_ids"] == table.features["input_ids"]
    again = tables.with_column(table, "more", ["a", "b", "c"])
    assert internals.fingerprint_of(again) == internals.fingerprint_of(more)
    files = list(own.rglob("*.arrow"))
    assert len(files) == 2
    for file in files:
        unseal(file, file.name.partition("-")[0])  # each ends in a digest


def test_nothing_else_makes_datasets_write_files_of_its_own() -> None:
    """They lie in the folder of the cache, and nobody checks them."""
    calls = re.compile(r"\.(add_column|flatten_indices|filter|shuffle|train_test_split)\(")
    for folder in ("data", "tasks"):
        for file in (ROOT / "ftlight" / folder).rglob("*.py"):
            found = calls.findall(file.read_text())
            assert len(found) == (file.name == "tables.py" and folder == "data"), file


# Damage


def place(key: str) -> Path:
    """The file of a table."""
    (file,) = (Path(datasets.config.HF_DATASETS_CACHE) / "ftlight").glob(f"{key}-*.arrow")
    return file


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged since the last time."""
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return lines


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """A cache of this test alone."""
    caplog.set_level(logging.INFO, "ftlight")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def noted() -> Iterator[Columns]:
    remark("the third row is odd")
    yield from made(900)


def test_a_damaged_table_is_made_again_with_one_line(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tables.cached_table("other", lambda: made(901))
    tables.cached_table("table", noted)
    file, other = place("table"), place("other").read_bytes()
    whole = file.read_bytes()
    said(caplog)

    def check(name: str, content: bytes) -> None:
        file.write_bytes(content)
        table = tables.cached_table("table", noted)
        assert tables.column(table, "text") == [f"row {n}" for n in range(900)]
        again, remarked = said(caplog)
        assert again.startswith(f"{file}: it")
        assert again.endswith("; the table is made again")
        assert remarked == "the third row is odd"
        assert file.read_bytes() == whole
        assert len(tables.cached_table("table", list)) == 900
        assert said(caplog) == [remarked]

    each(damaged(whole, other), check)


def test_a_table_of_another_pyarrow_is_not_read(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.cached_table("table", lambda: made(900))
    monkeypatch.setattr(pa, "__version__", "99.0")
    assert len(tables.cached_table("table", lambda: made(800))) == 800


def test_without_a_place_to_write_tables_are_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ftlight")
    (tmp_path / "file").write_text("")

    def check(folder: Path) -> None:
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
        table = tables.cached_table("table", noted)
        assert tables.column(table, "line") == list(range(900))
        assert tables.column(table.select([3, 1]), "line") == [3, 1]
        assert internals.fingerprint_of(table) == "table"
        line, remarked = said(caplog)
        assert line.startswith(f"{folder / 'ftlight'} cannot be written (")
        assert "kept in memory" in line
        assert remarked == "the third row is odd"
        tables.cached_table("next", lambda: made(9))
        assert said(caplog) == []

    each([tmp_path / "file", tmp_path / "file" / "folder", Path("/proc/none")], check)


def test_a_disk_that_fills_up_leaves_no_part_and_no_half(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def large() -> Iterator[Columns]:
        yield from ({"text": [f"{n} {i}" * 40 for i in range(1000)]} for n in range(40))

    with largest_file(1 << 20):
        table = tables.cached_table("large", large)
    assert len(table) == 40_000
    assert table[-1] == {"text": "39 999" * 40}
    (line,) = said(caplog)
    assert "cannot be written (File too large)" in line
    assert list((own / "ftlight").iterdir()) == []
    again = tables.cached_table("large", large)
    assert again.cache_files  # there is room now
    assert len(again) == 40_000


def test_an_error_of_the_reader_is_its_own(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    def breaks() -> Iterator[Columns]:
        yield from made(700)
        raise OSError("the data is gone")

    with pytest.raises(OSError, match="the data is gone"):
        tables.cached_table("broken", breaks)
    assert said(caplog) == []
    assert list((own / "ftlight").iterdir()) == []


def test_a_table_that_is_open_can_be_deleted_or_replaced(own: Path) -> None:
    def check(how: str) -> None:
        table = tables.cached_table("open", lambda: made(900))
        file = place("open")
        if how == "deleted":
            file.unlink()
        else:
            (own / "new").write_bytes(bytes(10))
            (own / "new").replace(file)
        assert tables.column(table, "line") == list(range(900))
        assert len(tables.cached_table("open", lambda: made(900))) == 900

    each(["deleted", "replaced"], check)


@pytest.mark.processes
def test_processes_that_make_the_same_table_at_once_all_get_it(own: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, results = context.Barrier(4), context.Queue()

    def work() -> None:
        ready.wait(30)
        table = tables.cached_table("shared", lambda: made(3000))
        results.put(tables.column(table, "line") == list(range(3000)))

    processes = [context.Process(target=work) for _ in range(4)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [True] * 4
    for process in processes:
        process.join()
    assert list((own / "ftlight").iterdir()) == [place("shared")]
