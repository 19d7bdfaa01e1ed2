"""Labels as strings: which there are, what is odd about them, and their numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from ftlight.data import numerals, spelling
from ftlight.data.label_forms import SEPARATOR as SEPARATOR
from ftlight.data.numerals import is_number as is_number
from ftlight.utils import paths
from ftlight.utils.errors import UserError, join_limited
from ftlight.utils.format import counted

Kind = Literal["single", "multi", "regression"]
RARE = 3  # rows below which a label is reported
# What programs write for a missing value; words such as "none" may be meant.
MISSING = re.compile(r"nan|NaN|NAN|<NA>|NaT|None|null|NULL|N/A|#N/A")


def split_labels(value: str) -> list[str]:
    """The labels in ``a|b``.

    >>> split_labels("a | b|")
    ['a', 'b']
    """
    return [part.strip() for part in value.split(SEPARATOR) if part.strip()]


def members(cell: str, kind: Kind) -> list[str]:
    """The labels in a cell as this package writes it."""
    return split_labels(cell) if kind == "multi" else [cell]


def joined(names: Iterable[str]) -> str:
    """Several labels as this package writes them; none as a bar alone.

    >>> joined(["a", "b"]), joined([])
    ('a|b|', '|')
    """
    return "".join(f"{name}{SEPARATOR}" for name in names) or SEPARATOR


def renamed(cell: str, kind: Kind, names: Mapping[str, str]) -> str:
    """A cell with other names of its labels.

    >>> renamed("Joy|fear|joy|", "multi", {"Joy": "joy"}), renamed("Joy", "single", {"Joy": "joy"})
    ('joy|fear|', 'joy')
    """
    new = [names.get(name, name) for name in members(cell, kind)]
    return joined(dict.fromkeys(new)) if kind == "multi" else new[0]


def collect(
    counts: Mapping[str, int],
    kind: Kind,
    place: str,
    known: Sequence[str] = (),
    is_asked: bool = False,
) -> tuple[list[str], list[str]]:
    """The labels of a column in order: numbers by value, words by letters.

    Args:
        counts: label to rows, as the column has it.
        kind: kind of the task.
        place: file and column, for errors.
        known: labels of the run that this one begins with.
        is_asked: whether the user asked for this kind.

    Returns:
        The labels, and notes of those that look alike.

    Raises:
        UserError: there is a single class.
    """
    rows = Counter[str]()
    for value, count in counts.items():
        for name in members(value, kind):
            rows[name] += count
    if (len(rows) < 2 and kind == "single") or not rows:
        names = join_limited(rows) or "none"
        fault = f"{place} holds a single class ({names}); there is nothing to learn"
        if others := [label for label in known if label not in rows]:
            fault = (
                f"{place} holds a single class ({names}); a run forgets what its train lacks:"
                f" put rows of the labels that it began with ({join_limited(others, 4)}) beside"
                " these, in one file"
            )
        raise UserError(fault)
    numbers = all(map(is_number, rows))
    labels = sorted(rows, key=lambda label: (float(label) if numbers else 0, label))
    return labels, [*_alike(labels, rows), *_doubtful(labels, rows, numbers and not is_asked)]


def _alike(labels: Sequence[str], rows: Mapping[str, int]) -> list[str]:
    """Notes of labels that differ by leading zeros, or only in how they are written."""
    without_zeros: dict[str, list[str]] = {}
    for label in labels:
        without_zeros.setdefault(label.lstrip("0") or "0", []).append(label)
    notes = [
        f"labels {join_limited(map(repr, twins))} look alike and are kept apart"
        for twins in without_zeros.values()
        if len(twins) > 1
    ]
    groups = spelling.alike(rows)
    if groups:
        notes.append(
            f"labels that differ only in {spelling.WAYS} are kept apart:"
            f" {spelling.listed(groups, rows)}; to join them set data.fold_labels: true"
        )
    if errors := spelling.typing_errors(rows):
        notes.append(
            f"labels that a letter tells apart: {spelling.listed(errors, rows)};"
            " if they are one, write them alike in the file"
        )
    return notes


def _doubtful(labels: Sequence[str], rows: Mapping[str, int], numbers: bool) -> list[str]:
    """Notes of labels that may stand for none, or that may be numbers."""
    notes = []
    missing = [label for label in labels if MISSING.fullmatch(label)]
    if missing:
        listed = join_limited(f"{label!r} ({counted(rows[label], 'row')})" for label in missing)
        notes.append(f"label {listed} may stand for a missing one; here it is a class")
    rare = sum(rows[label] < RARE for label in labels)
    if numbers and len(labels) > 20 and rare * 2 > len(labels):
        notes.append("these labels are numbers, most of them rare: if so, data.kind: regression")
    return notes


def absent(
    values: Iterable[str],
    kind: Kind,
    names: Sequence[str],
    split: str,
    known: Sequence[str] = (),
) -> list[str]:
    """A note of labels that no row of a split has; what train lacks of known ones is forgotten.

    >>> absent(["a", "b"], "single", ["a", "b", "c"], "test")[0]
    'test: no row has 1 of the 3 labels (c): it counts 0 in averages over labels, and auroc is n/a'
    """
    there: set[str] = set()
    for value in set(values):
        there.update(members(value, kind))
    missing = [name for name in names if name not in there]
    if not missing:
        return []
    counts = "it counts" if len(missing) == 1 else "they count"
    effect = f"{counts} 0 in averages over labels, and auroc is n/a"
    if split == "train":
        effect = "nothing is learned of it"
        if not set(missing).isdisjoint(known):
            effect = "what is known of it is forgotten"
    return [
        f"{split}: no row has {len(missing)} of the {len(names)} labels"
        f" ({join_limited(missing, 3)}): {effect}"
    ]


def encode(
    values: Sequence[str],
    lines: Sequence[int | str],
    kind: Kind,
    names: Sequence[str],
    place: str,
    known_from: str,
) -> list[Any]:
    """Labels as numbers: for each row a class, a list of classes, or a value.

    Args:
        values: labels of the rows.
        lines: lines of the rows in their file.
        kind: kind of the task.
        names: labels in order.
        place: file of the rows.
        known_from: where the labels come from.

    Raises:
        UserError: a label is unknown, or in a regression no number.
    """
    if kind == "regression":
        for value, line in zip(values, lines, strict=True):
            if not is_number(value):
                raise UserError(
                    f"{paths.place(place, line)}: label {value!r} is not a number;"
                    " for classes set data.kind: single"
                )
        return [float(v) for v in values]
    number = {name: i for i, name in enumerate(names)}
    if kind == "single" and number.keys() >= set(values):
        return [number[v] for v in values]
    lists = [members(value, kind) for value in values]
    unknown: dict[str, int | str] = {}
    for row, line in zip(lists, lines, strict=True):
        for name in row:
            if name not in number:
                unknown.setdefault(name, line)
    if unknown:
        first, line = next(iter(unknown.items()))
        raise UserError(
            f"{paths.place(place, line)}: label {first!r} is not in {known_from}"
            f" ({len(unknown)} such: {join_limited(unknown, 5)});"
            f" labels there: {join_limited(names)}."
            f" Correct it, take the rows out, or add some to train{_same_word(first, names)}"
        )
    numbers = [[number[n] for n in row] for row in lists]
    return numbers if kind == "multi" else [n[0] for n in numbers]


def _same_word(label: str, names: Sequence[str]) -> str:
    """What to set if a label differs from one of the names only in how it is written."""
    alike = [name for name in names if spelling.key(name) == spelling.key(label)]
    if not alike:
        return ""
    return (
        f"; it differs from {alike[0]!r} only in {spelling.WAYS}: data.fold_labels: true joins them"
    )


def known_as(values: Sequence[str], kind: Kind, names: Sequence[str]) -> Sequence[str]:
    """Labels as the names have them: 1.0 is 1, if that is a name and 1.0 is not.

    >>> known_as(["1.0", "2"], "single", ["1", "2"]), known_as(["1.0|"], "multi", ["1", "2"])
    (['1', '2'], ['1|'])
    """
    if kind == "regression":
        return values
    own, by_number = set(names), {numerals.whole(name): name for name in reversed(names)}
    cells = {}
    for value in set(values):
        odd = [name for name in members(value, kind) if name not in own]
        found = {name: by_number.get(numerals.whole(name), name) for name in odd}
        cells[value] = renamed(value, kind, found)
    return [cells[value] for value in values]
