"""Reader of texts, or pairs of texts, with labels."""

from __future__ import annotations

from collections.abc import Iterator

from ftlight.data import files
from ftlight.data.label_columns import has_blanks, row_label, say_blanks
from ftlight.data.sources import Source
from ftlight.utils.errors import UserError


def read_rows(
    source: Source,
    text: tuple[str, ...],
    text_pair: str | None,
    label: str | tuple[str, ...],
    digest: str,
) -> Iterator[files.Row]:
    """Rows of a split as strings: ``text``, ``pair``, ``label`` and the ``line`` of the file.

    Raises:
        UserError: a column is missing, or labels are of different types.
    """
    pairs = [text_pair] if text_pair else []
    kind: type | None = None
    padded: list[int | str] = []
    columns = [label] if isinstance(label, str) else label
    for row in source.rows([*text, *pairs, *columns]):
        value, line = row[columns[0]], row[files.LINE]
        if value is not None and isinstance(label, str):
            kind = kind or type(value)
            if type(value) is not kind and {type(value), kind} != {int, float}:
                raise UserError(
                    f"{files.place(source.name, line)}: label {value!r} is"
                    f" {type(value).__name__}, those before are {kind.__name__}; write them alike"
                )
        if has_blanks(row, label):
            padded.append(line)
        yield {
            "text": files.joined(row, text, source.name),
            "pair": files.joined(row, pairs, source.name),
            "label": row_label(row, label, source.name),
            "line": line,
        }
    say_blanks(padded, source.name)
