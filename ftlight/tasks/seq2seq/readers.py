"""Reader of pairs of texts: rows as strings."""

from __future__ import annotations

from collections.abc import Iterator

from ftlight.data import files
from ftlight.data.sources import Source
from ftlight.utils.errors import UserError, did_you_mean, join_limited


def read_pairs(
    source: Source, inputs: tuple[str, ...], targets: tuple[str, ...], digest: str
) -> Iterator[files.Row]:
    """Yields the rows of a split as strings, one for each reference.

    Args:
        source: file or data set.
        inputs: columns of the source, joined.
        targets: columns that may hold references, of which there must be one.
        digest: identifies the content, for the cache.

    Yields:
        ``source``, ``target`` and the ``line`` of the file.

    Raises:
        UserError: a column is missing, or a row has no reference.
    """
    name = source.name
    for row in source.rows(inputs, optional=targets):
        line = row[files.LINE]
        given = [column for column in targets if column in row]
        if not given:
            columns = files.names(row)
            raise UserError(
                f"{files.place(name, line)}: no column {join_limited(targets)}"
                f"{did_you_mean(targets[0], columns)} (columns: {join_limited(columns, 20)});"
                " data.target"
            )
        references = []
        for column in given:
            cells = row[column] if isinstance(row[column], list) else [row[column]]
            references += [files.as_text(cell, name, line, column).strip() for cell in cells]
        if not any(references):
            raise files.empty_cell(join_limited(given), files.place(name, line))
        text = files.joined(row, inputs, name)
        for reference in filter(None, references):
            yield {"source": text, "target": reference, "line": line}
