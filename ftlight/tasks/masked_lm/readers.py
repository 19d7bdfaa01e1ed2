"""Reader of documents: of plain text, or of a column of a table."""

from __future__ import annotations

from collections.abc import Iterator

from ftlight.data import files
from ftlight.data.sources import Source

SUFFIXES = (".txt", *files.SUFFIXES)


def read_documents(source: Source, column: str, unit: files.Unit) -> Iterator[tuple[int, str]]:
    """Documents of a text file or of a column of a table, with their lines; empty ones too."""
    if source.suffix == ".txt":
        yield from files.divided(files.text_lines(source.path, source.encoding), unit)
        return
    for row in source.rows([column]):
        yield row[files.LINE], files.cell(row, column, source.name)
