"""The labels of a split as ``fit`` will read them: their kind, counts, and what is odd of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ftlight.data import label_forms, label_kinds, labels, numerals
from ftlight.data.label_forms import Form
from ftlight.data.recognition import Content
from ftlight.utils.errors import UserError

SKIP = {"on_missing_label": "skip"}


def survey(
    cells: Sequence[str],
    lines: Sequence[int | str],
    place: str,
    column: str | Sequence[str],
    train: Content | None,
) -> Content:
    """What the label cells of a split hold.

    Args:
        cells: the label of each row as text; empty if it is missing.
        lines: lines of the rows.
        place: their file.
        column: column of the label, or columns of 0 and 1.
        train: what train holds, if this is another split.

    Raises:
        UserError: they hold nothing to learn, can be read in several ways, or train lacks one.
    """
    where = f"{place}: column {column}" if isinstance(column, str) else place
    absent = {"", *numerals.are_missing(set(cells) - {""})}
    rows = [i for i, cell in enumerate(cells) if cell not in absent]
    counts = Counter(cells[i] for i in rows)
    if not rows:
        raise UserError(f"{where} has no label in any row; fill it in, or name another --label")
    kind, form, notes = _read(counts, where, column, train)
    values = [form.text(cells[i]) for i in rows]
    if train is not None:
        values = list(labels.known_as(values, kind, list(train.labels)))
        kept = [lines[i] for i in rows]
        labels.encode(values, kept, kind, list(train.labels), place, "train")
    elif kind == "regression" and len(set(values)) == 1:
        raise UserError(f"{where} holds a single number ({values[0]}); there is nothing to learn")
    elif kind != "regression":
        notes += labels.collect(Counter(values), kind, where)[1]
    found = Counter[str]()
    for value in values if kind != "regression" else ():
        found.update(labels.members(value, kind))
    missing = len(cells) - len(rows)
    if missing:
        notes.append(f"{missing:,} rows have no label and are left out (on_missing_label)")
    if kind == "regression":
        numbers = sorted(map(float, values))
        notes.insert(0, f"numbers from {numbers[0]:g} to {numbers[-1]:g}")
    return Content(
        rows=len(rows),
        labels=found,
        kind=kind,
        form=form,
        classes=values if kind == "single" else None,
        options=SKIP if missing else {},
        notes=notes,
    )


def _read(
    counts: Counter[str], where: str, column: str | Sequence[str], train: Content | None
) -> tuple[labels.Kind, Form, list[str]]:
    """Kind of the labels and how they are written, by those of train, and notes about it."""
    if train is not None and train.form is not None:
        return train.kind, train.form, []  # type: ignore[return-value]
    if not isinstance(column, str):
        return "multi", Form("joined"), []
    kind, form = label_kinds.read(counts, where)
    about = label_forms.describe(form, counts)
    hints = label_forms.hints(counts, column) if kind == "single" else []
    return kind, form, [*([about] if about else []), *hints]
