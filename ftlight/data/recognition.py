"""What a file turns out to hold: what ``init`` asks the readers of a task, and what they answer.

Each task has a module ``recognize`` with two functions. ``recognize(look)`` says whether a file is
one of the task's, by its form and first rows, with the options that read it, or None.
``survey(source, options, train)`` reads a whole split with the readers of ``fit``; it raises what
they raise. Neither needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from ftlight.data.cells import LINE, Row
from ftlight.data.label_forms import Form
from ftlight.data.sources import Source

Options = Mapping[str, Any]
# What people call the column of a label.
LABELS = (
    *("label", "labels", "category", "class", "intent", "target", "topic", "sentiment"),
    *("score", "rating", "y", "tag", "tags"),
)


class Look(NamedTuple):
    """A data file at first sight.

    Attributes:
        source: the file.
        rows: the first rows of a table; none of any other file.
        label: column of the label, if it is given.
        asked: whether the user named the task, so that what columns are for may be guessed.
    """

    source: Source
    rows: Sequence[Row] = ()
    label: str | None = None
    asked: bool = False

    @property
    def first(self) -> Row:
        """The first row, without its line."""
        return {k: v for k, v in self.rows[0].items() if k != LINE} if self.rows else {}

    def values(self, column: str) -> list[Any]:
        """The cells of a column that hold something."""
        return [row[column] for row in self.rows if row.get(column) not in (None, "")]

    def named(self, names: Sequence[str]) -> str:
        """The first column with one of these names, in any case; empty if there is none."""
        columns = {column.lower(): column for column in reversed(list(self.first))}
        return next((columns[name] for name in names if name in columns), "")

    def texts(self) -> list[str]:
        """Columns that hold text, the longest on average first."""
        columns = {c: [v for v in self.values(c) if isinstance(v, str)] for c in self.first if c}
        sizes = {c: sum(map(len, v)) / len(v) for c, v in columns.items() if v}
        return sorted(sizes, key=lambda column: -sizes[column])


class Shape(NamedTuple):
    """How a file of a task is read.

    Attributes:
        options: options of its data.
        why: what told the task.
        comments: what should be known of an option, by its name.
    """

    options: Options
    why: str
    comments: Mapping[str, str] = MappingProxyType({})


class Content(NamedTuple):
    """What a split holds, as ``fit`` reads it.

    Attributes:
        rows: how many rows it has.
        unit: what a row is, in words.
        labels: rows, or entities, of each label.
        kind: kind of the labels: single, multi, regression or entities; empty without labels.
        form: how labels are written.
        classes: class of each row, if a part that is held out has its share of each.
        groups: group of each row, if a group is held out as a whole.
        options: options that its rows ask for, such as what to do with those without a label.
        comments: what should be known of an option, by its name.
        notes: what a person should know.
        splits: splits that the same file has beside train.
    """

    rows: int
    unit: str = "rows"
    labels: Mapping[str, int] = MappingProxyType({})
    kind: str = ""
    form: Form | None = None
    classes: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    options: Options = MappingProxyType({})
    comments: Mapping[str, str] = MappingProxyType({})
    notes: Sequence[str] = ()
    splits: Sequence[str] = ()
