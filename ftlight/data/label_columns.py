"""The label of a row as text, from one column or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftlight.data import files, label_forms, labels
from ftlight.data.remarks import remark
from ftlight.utils.errors import UserError
from ftlight.utils.format import counted


def label_text(value: Any, place: str, line: int | str, column: str) -> str:
    """A label as text; empty if it is missing.

    A list of labels (JSONL, Parquet) is joined with ``|`` and ends with one, so that it stays a
    list: no label at all is a bar alone.
    """
    if isinstance(value, list):
        members = [files.as_text(member, place, line, column) for member in value]
        value = "".join(f"{member}{labels.SEPARATOR}" for member in members) or labels.SEPARATOR
    return files.as_text(value, place, line, column).strip()


def has_blanks(row: files.Row, label: str | tuple[str, ...]) -> bool:
    """Whether there are blanks around the label of a row, which are no part of it."""
    value = row[label] if isinstance(label, str) else None
    return isinstance(value, str) and value != value.strip() != ""


def say_blanks(lines: Sequence[int | str], place: str) -> None:
    """Remarks on the rows that have blanks around their label."""
    if lines:
        rows = counted(len(lines), "row", "have")
        where = f"first in line {lines[0]}"
        remark(f"{place}: {rows} blanks around the label, which are taken off ({where})")


def row_label(row: files.Row, label: str | tuple[str, ...], place: str) -> str:
    """The label of a row as text: of one column, or the names of those columns that hold a 1.

    Raises:
        UserError: one of several columns holds something else than 0 and 1.
    """
    line = row[files.LINE]
    if isinstance(label, str):
        return label_text(row[label], place, line, label)
    members = []
    for column in label:
        cell = files.cell(row, column, place).strip()
        if not cell:
            return ""
        if not label_forms.BIT.fullmatch(cell):
            raise UserError(
                f"{files.place(place, line)}: column {column} holds {cell!r}, expected 0 or 1:"
                " data.label names several columns, each of a label that a row has or not"
            )
        members += [column] if cell[0] in "1tT" else []
    return "".join(f"{name}{labels.SEPARATOR}" for name in members) or labels.SEPARATOR


def check_options(
    label: str | tuple[str, ...],
    kind: str,
    separator: str | None,
    given_labels: Sequence[str] | None,
) -> None:
    """Checks that options of labels go together.

    Raises:
        UserError: they do not.
    """
    several = not isinstance(label, str)
    if several and not label:
        raise UserError("data.label: the list is empty; name a column")
    if several and given_labels and set(given_labels) != set(label):
        raise UserError("data.labels must be the columns of data.label; leave it out")
    if separator == "":
        raise UserError("data.label_separator: the text is empty; give a comma, for example")
    for option, given in (("label", several), ("label_separator", separator)):
        if given and kind not in ("auto", "multi"):
            raise UserError(
                f"data.{option} says that rows have several labels, data.kind says {kind};"
                " take one out"
            )
