"""The labels of a split as ``fit`` will read them: their kind, counts, and what is odd of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ftlight.data import label_forms, label_kinds, labels, numerals, spelling
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
    options: dict[str, Any] = {**SKIP} if len(rows) < len(cells) else {}
    comments: dict[str, str] = {}
    if kind != "regression" and isinstance(column, str):
        values, joined = _folded(values, kind, train)
        if joined:
            options["fold_labels"], comments["fold_labels"] = True, f"joins {joined}"
    if train is not None:
        kept = [lines[i] for i in rows]
        labels.encode(values, kept, kind, list(train.labels), place, "train")
    elif kind == "regression" and len(set(values)) == 1:
        raise UserError(f"{where} holds a single number ({values[0]}); there is nothing to learn")
    elif kind != "regression":
        notes += labels.collect(Counter(values), kind, where)[1]
    found = _counted(values, kind) if kind != "regression" else Counter()
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
        options=options,
        comments=comments,
        notes=notes,
    )


def _counted(values: Sequence[str], kind: labels.Kind) -> Counter[str]:
    """Rows of each label."""
    return Counter(name for value in values for name in labels.members(value, kind))


def _folded(
    values: Sequence[str], kind: labels.Kind, train: Content | None
) -> tuple[list[str], str]:
    """Values with one spelling of each label, as ``data.fold_labels`` does, and which it joins.

    Letters alone stay as they are: a and A may be classes of handwriting.
    """
    rows = _counted(values, kind)
    known = train.labels if train is not None else {}
    first = dict.fromkeys(known, rows.total() + 1)
    groups = [names for names in spelling.alike({**rows, **first}) if {*names[1:]} & {*rows}]
    if not groups or spelling.alike(known) or any(len(names[0]) == 1 for names in groups):
        return list(values), ""
    kept = spelling.folded({**rows, **first})
    names = {name: kept[spelling.key(name)] for name in rows}
    joined = spelling.listed(groups, {**rows, **known})
    return [labels.renamed(value, kind, names) for value in values], joined


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
