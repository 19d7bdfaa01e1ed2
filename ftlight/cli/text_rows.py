"""Rows to predict that are no file: one text, or lines of standard input."""

from __future__ import annotations

import sys

from ftlight.data import files
from ftlight.data.module import DataModule
from ftlight.run import console as screen
from ftlight.utils.errors import UserError
from ftlight.utils.format import counted


def of(text: str | None, data: DataModule) -> list[files.Row]:
    """A row for the text given, or for each line of standard input.

    A blank line keeps its place, if the data know rows without a text; else a line names it.
    """
    if len(data.columns) > 1:
        columns = ", ".join(data.columns)
        raise UserError(f"the run reads several columns ({columns}); give a file that has them")
    lines = [text] if text is not None else [line.rstrip("\n") for line in sys.stdin]
    rows = [{data.columns[0]: line, files.LINE: i} for i, line in enumerate(lines, 1)]
    blank = [row for row, line in zip(rows, lines, strict=True) if not line.strip()]
    if len(blank) == len(rows):
        raise UserError("there is no text to predict")
    if len(data.without_text(blank, "input")) == len(blank):
        return rows
    count = f"{len(blank):,} of {counted(len(rows), 'line')}"
    where = files.places([row[files.LINE] for row in blank], 3)
    verb = "is" if len(blank) == 1 else "are"
    screen.console.print(f"input: {count} {verb} blank, and left out ({where})")
    return [row for row in rows if row not in blank]
