"""Tables on the disk: made once from batches of rows, memory-mapped from then on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from ftlight.utils.atomic import atomic_write, remove_stale

Columns = dict[str, list[Any]]
SIZE = 1000  # rows of a batch
SMALL = {"input_ids": pa.int32(), "token_type_ids": pa.int8()}  # half or an eighth of the disk


def cached_table(
    mark: str, make: Callable[[], Iterable[Columns]], features: datasets.Features | None = None
) -> datasets.Dataset:
    """The table of a mark, memory-mapped: made unless a file of the cache holds it.

    Args:
        mark: tells the content.
        make: gives the columns of some rows after another; called only where the table is not there yet.
        features: types of the columns; by the first rows if not given.
    """
    path = Path(datasets.config.HF_DATASETS_CACHE) / "ftlight" / f"{mark}.arrow"
    if not path.exists():
        remove_stale(path.parent)
        schema = features.arrow_schema if features is not None else None
        with (
            atomic_write(path) as file
        ):  # processes that make it at the same time write the same, each in a file of its own
            _write(file, make(), schema)
    try:
        table = datasets.table.MemoryMappedTable.from_file(str(path))
    except pa.ArrowInvalid:  # damaged since
        path.unlink(missing_ok=True)
        return cached_table(mark, make, features)
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=features), fingerprint=mark)


def _write(file: Any, batches: Iterable[Columns], schema: pa.Schema | None) -> None:
    writer, told = None, schema is not None
    for columns in batches:
        if schema is None and not len(next(iter(columns.values()))):
            continue  # nothing to tell the types by
        made = pa.table(columns, schema=schema if told else None)
        schema = schema or pa.schema(
            [(f.name, _small(f.type, SMALL.get(f.name, pa.int64()))) for f in made.schema]
        )
        writer = writer or pa.ipc.new_stream(file, schema)
        writer.write_table(
            made.cast(schema)
        )  # an error where rows are of another kind than the first, not other values
    (writer or pa.ipc.new_stream(file, schema or pa.schema([]))).close()


def _small(kind: pa.DataType, number: pa.DataType) -> pa.DataType:
    """A type, or one of lists of it, with another one for whole numbers."""
    if pa.types.is_list(kind):
        return pa.list_(_small(kind.value_type, number))
    return number if kind == pa.int64() else kind


def gathered(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> Iterator[Columns]:
    """Columns of some rows after another."""
    rows = iter(rows)
    while some := list(itertools.islice(rows, SIZE)):
        yield {name: [row[name] for row in some] for name in names}


def batches(table: datasets.Dataset, names: Sequence[str] | None = None) -> Iterator[Columns]:
    """Columns of some rows after another, many times faster than rows and with none of them held.

    Args:
        table: rows, of which some may be left out or moved.
        names: which columns; all if not given.
    """
    data = table.data.table.select(list(names or table.column_names))
    order = table._indices.column(0).to_numpy() if table._indices is not None else None
    for start in range(0, len(table), SIZE):
        if order is None:
            yield data.slice(start, SIZE).to_pydict()
        else:  # out of the stretch that they lie in: a look into every piece of a large table would take longer than the rows
            rows = order[start : start + SIZE]
            first = rows.min()
            yield data.slice(first, rows.max() - first + 1).take(pa.array(rows - first)).to_pydict()


def column(table: datasets.Dataset, name: str) -> list[Any]:
    """All values of a column."""
    return [value for some in batches(table, [name]) for value in some[name]]
