"""Tables on disk: written once from batches of rows, memory-mapped from then on."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from ftlight.data.remarks import collected, remark
from ftlight.utils import internals
from ftlight.utils.atomic import atomic_write, remove_stale
from ftlight.utils.errors import first_line
from ftlight.utils.sealed import Damaged, seal, unseal

log = logging.getLogger(__name__)
Columns = dict[str, list[Any]]
TEXT, NUMBER = datasets.Value("string"), datasets.Value("int64")
BATCH = 1000  # rows that are read, encoded and written together
# Smaller types for columns of whole numbers: half or an eighth of the disk.
SMALL = {"input_ids": pa.int32(), "token_type_ids": pa.int8()}


def cached_table(
    key: str, make: Callable[[], Iterable[Columns]], features: datasets.Features | None = None
) -> datasets.Dataset:
    """The table of a key, memory-mapped: read from the cache, or made and written to it.

    A file that is damaged is made again. If none can be written, the table is kept in memory. What
    readers remark while it is made is kept with it, and said whenever it is read.

    Args:
        key: identifies the content.
        make: yields the table in batches of columns; called only if the cache has no such table.
        features: types of the columns; told by the first rows if not given.
    """
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "ftlight"
    path = folder / f"{key}-{pa.__version__}.arrow"
    schema = features.arrow_schema if features is not None else None
    table, remarks = _read(path, key) or _make(path, key, make, schema)
    for line in remarks:
        remark(line)
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=features), fingerprint=key)


def _read(path: Path, key: str) -> tuple[datasets.table.Table, list[str]] | None:
    """The table in a file, and the remarks; None if there is none that is whole."""
    try:
        _, remarks = unseal(path, key)
        return datasets.table.MemoryMappedTable.from_file(str(path)), remarks
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (Damaged, OSError, pa.ArrowException) as error:
        log.info("%s: %s; the table is made again", path, first_line(error))
        return None


def _make(
    path: Path, key: str, make: Callable[[], Iterable[Columns]], schema: pa.Schema | None
) -> tuple[datasets.table.Table, list[str]]:
    """Makes a table in a file, or in memory if the file cannot be written."""
    try:
        remove_stale(path.parent)
        # processes that make it at the same time write the same, each to a file of its own
        with collected() as remarks, atomic_write(path) as file:
            _write(file, make(), schema)
            seal(file, key, remarks)
        found = _read(path, key)
        if found is not None:
            return found
        reason = "what was written is gone"
    except OSError as error:
        reason = error.strerror or first_line(error)
    with collected() as remarks:
        memory = pa.BufferOutputStream()
        _write(memory, make(), schema)
    _say_in_memory(path.parent, reason)
    return datasets.table.InMemoryTable(pa.ipc.open_stream(memory.getvalue()).read_all()), remarks


@functools.cache  # once, not for each table
def _say_in_memory(folder: Path, reason: str) -> None:
    line = "%s cannot be written (%s): tables are kept in memory; set HF_DATASETS_CACHE"
    log.info(line, folder, reason)


def _write(file: Any, batches: Iterable[Columns], schema: pa.Schema | None) -> None:
    """Writes batches as an Arrow stream.

    Raises:
        pa.ArrowException: a column's values are of another type than those of the first batch.
    """
    writer, given = None, schema is not None
    for columns in batches:
        if schema is None and not len(next(iter(columns.values()))):
            continue  # tells no types
        batch = pa.table(columns, schema=schema if given else None)
        if schema is None:
            fields = [(f.name, _small(f.type, SMALL.get(f.name, pa.int64()))) for f in batch.schema]
            schema = pa.schema(fields)
        writer = writer or pa.ipc.new_stream(file, schema)
        writer.write_table(batch.cast(schema))
    (writer or pa.ipc.new_stream(file, schema or pa.schema([]))).close()


def _small(kind: pa.DataType, number: pa.DataType) -> pa.DataType:
    """A type, or a list of it, with another type for whole numbers."""
    if pa.types.is_list(kind):
        return pa.list_(_small(kind.value_type, number))
    return number if kind == pa.int64() else kind


def chunks(items: Iterable[Any], size: int = BATCH) -> Iterator[list[Any]]:
    """Yields lists of at most ``size`` items (``itertools.batched`` of Python 3.12).

    >>> list(chunks("abc", 2))
    [['a', 'b'], ['c']]
    """
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def gathered(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> Iterator[Columns]:
    """Yields rows as batches of columns."""
    for chunk in chunks(rows):
        yield {name: [row[name] for row in chunk] for name in names}


def mapped(function: Callable[[Columns], Columns], columns: Columns) -> Columns:
    """Columns that a function makes of others, batch by batch: what it holds meanwhile is bounded.

    Args:
        function: new columns of a batch of rows, one value per row.
        columns: values of all rows by column; at least one row.
    """
    size = len(next(iter(columns.values())))
    made: Columns = {}
    for start in range(0, size, BATCH):
        batch = {name: values[start : start + BATCH] for name, values in columns.items()}
        for name, values in function(batch).items():
            made.setdefault(name, []).extend(values)
    return made


def batches(table: datasets.Dataset, names: Sequence[str] | None = None) -> Iterator[Columns]:
    """Yields a table in batches of columns: many times faster than row by row.

    Args:
        table: rows, some of which may be left out or moved.
        names: columns to read; all if not given.
    """
    data = table.data.table.select(list(names or table.column_names))
    order = internals.indices_of(table)
    for start in range(0, len(table), BATCH):
        if order is None:
            yield data.slice(start, BATCH).to_pydict()
        else:
            # slice first: looking into every chunk of a large table would take longer than the rows
            rows = order[start : start + BATCH]
            first = rows.min()
            yield data.slice(first, rows.max() - first + 1).take(pa.array(rows - first)).to_pydict()


def with_column(table: datasets.Dataset, name: str, values: list[Any]) -> datasets.Dataset:
    """A table with one more column.

    ``Dataset.add_column`` first writes rows that were left out or moved to a file of its own, in
    the folder of the cache and never checked; here they go through the cache.
    """
    if internals.indices_of(table) is not None:
        key = datasets.fingerprint.Hasher.hash(["rows", internals.fingerprint_of(table)])
        table = cached_table(key, lambda: batches(table), table.features)
    return table.add_column(name, values)


def column(table: datasets.Dataset, name: str) -> list[Any]:
    """All values of a column."""
    return [value for batch in batches(table, [name]) for value in batch[name]]
