"""Which kind of task a label column asks for, and how it writes its labels."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from ftlight.data import label_forms, numerals
from ftlight.data.label_forms import Form
from ftlight.data.labels import Kind
from ftlight.data.numerals import is_number
from ftlight.utils.errors import UserError, join_limited


class Reading(NamedTuple):
    """How a label column is read: for which kind of task, and how its cells are written."""

    kind: Kind
    form: Form

    def notes(self, cells: Collection[str], column: str, told: bool) -> list[str]:
        """What a person should know of it.

        Args:
            cells: all that the column holds.
            column: the column, in words.
            told: whether the kind of task was told by the column.
        """
        about = label_forms.describe(self.form, cells)
        if not told:
            return [f"{column}: {about}"] if about else []
        line = f"kind of task: {self.kind}, by {column} (data.kind)"
        hints = label_forms.hints(cells, column) if self.kind == "single" else []
        return [f"{line}; {about}" if about else line, *hints]


def read(
    counts: Mapping[str, int],
    place: str,
    kind: Literal["auto"] | Kind = "auto",
    separator: str | None = None,
) -> Reading:
    """How a label column is read, by all that it holds.

    Args:
        counts: cell to rows, without empty cells.
        place: file and column, for errors.
        kind: kind of the task, if that is given.
        separator: what joins several labels, if that is given.

    Raises:
        UserError: it can be read in several ways, or a row holds several numbers.

    >>> [read(dict.fromkeys(v, 9), "").kind for v in (["0.5", "2"], ["1", "2"], ["a|b", "a"])]
    ['regression', 'single', 'multi']
    """
    values = list(counts)
    form = Form()
    if kind == "auto":
        kind, form = _told(counts, place, separator)
    elif kind == "regression":
        form = _number_form(values, place)
    elif kind == "multi":
        form = label_forms.find(counts, separator, True, place)
    if kind != "regression":
        members = values if kind == "single" else [m for v in values for m in form.members(v)]
        if _are_whole(members):
            form = form._replace(whole=True)
    return Reading(kind, form)


def _told(counts: Mapping[str, int], place: str, separator: str | None) -> tuple[Kind, Form]:
    """Kind and form of a column about which nothing is given."""
    values = list(counts)
    if separator is not None:
        return "multi", label_forms.find(counts, separator, True, place)
    if all(map(is_number, values)):
        fractions = any("." in v or "e" in v.lower() for v in values)
        return "regression" if fractions and not numerals.are_classes(values) else "single", Form()
    form = _number_form(values, place)
    if form != Form():
        _refuse_joined_numbers(values, place)
        return "regression", form
    form = label_forms.find(counts, None, False, place)
    return "single" if form.name == "word" else "multi", form


def _number_form(values: Sequence[str], place: str) -> Form:
    notation = numerals.notation(values, place)
    if notation is None:
        return Form()
    return Form(decimal=notation.decimal, thousands=notation.thousands)


def _refuse_joined_numbers(values: Sequence[str], place: str) -> None:
    """Refuses numbers with a comma whose two parts stand alone in other rows, such as 1 2 1,2.

    Raises:
        UserError: they are classes, or halves of ratings; nothing tells which.
    """
    joined = [value for value in values if "," in value]
    alone = {value for value in values if "," not in value}
    if joined and all(part.strip() in alone for value in joined for part in value.split(",")):
        raise UserError(
            f"{place}: {join_limited(map(repr, joined), 3)} may be numbers with a decimal comma or"
            " several labels; set data.kind: regression, or data.label_separator: ','"
        )


def _are_whole(values: Sequence[str]) -> bool:
    """Whether all are whole numbers, some with decimals."""
    bare = [numerals.whole(value) for value in values]
    return all(re.fullmatch(r"[+-]?\d+", value) for value in bare) and bare != list(values)
