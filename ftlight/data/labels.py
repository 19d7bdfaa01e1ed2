"""Labels as strings: which kind of task a column asks for, which labels it has, their numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from ftlight.utils.errors import UserError, join_limited

Kind = Literal["single", "multi", "regression"]
SEPARATOR = "|"
RARE = 3  # rows below which a label is reported


def is_number(value: str) -> bool:
    """Whether a label is a finite number (``nan`` and ``inf`` are words)."""
    try:
        return math.isfinite(float(value)) and value[-1] in "0123456789." and "_" not in value
    except ValueError:
        return False


def infer_kind(values: Iterable[str]) -> Kind:
    """The kind of a label column: regression has fractions, ``a|b`` are several labels.

    >>> infer_kind(["0.5", "2"]), infer_kind(["1", "2"]), infer_kind(["a|b", "a"])
    ('regression', 'single', 'multi')
    """
    values = set(values)
    if all(is_number(v) for v in values) and any("." in v or "e" in v.lower() for v in values):
        return "regression"
    return "multi" if any(SEPARATOR in v for v in values) else "single"


def split_labels(value: str) -> list[str]:
    """The labels in ``a|b``.

    >>> split_labels("a | b|")
    ['a', 'b']
    """
    return [part.strip() for part in value.split(SEPARATOR) if part.strip()]


def collect(counts: Mapping[str, int], kind: Kind, place: str) -> tuple[list[str], list[str]]:
    """The labels of a column in order: numbers by value, words by letters.

    Args:
        counts: label to rows, as the column has it.
        kind: kind of the task.
        place: file and column, for errors.

    Returns:
        The labels, and notes of those that look alike or are rare.

    Raises:
        UserError: there is a single class.
    """
    rows = Counter[str]()
    for value, count in counts.items():
        for name in split_labels(value) if kind == "multi" else [value]:
            rows[name] += count
    if (len(rows) < 2 and kind == "single") or not rows:
        names = join_limited(rows) or "none"
        raise UserError(f"{place} holds a single class ({names}); there is nothing to learn")
    numbers = all(map(is_number, rows))
    labels = sorted(rows, key=lambda label: (float(label) if numbers else 0, label))
    alike: dict[str, list[str]] = {}
    for label in labels:
        alike.setdefault((label.lstrip("0") or "0").casefold(), []).append(label)
    notes = [
        f"labels {join_limited(map(repr, twins))} look alike and are kept apart"
        for twins in alike.values()
        if len(twins) > 1
    ]
    rare = [label for label in labels if rows[label] < RARE]
    if rare:
        notes.append(f"{len(rare)} labels have fewer than {RARE} rows ({join_limited(rare, 3)})")
    return labels, notes


def absent(values: Iterable[str], kind: Kind, names: Sequence[str], split: str) -> list[str]:
    """A note of labels that no row of a split has.

    >>> absent(["a", "b"], "single", ["a", "b", "c"], "test")[0]
    'test: no row has 1 of the 3 labels (c): it counts 0 in averages over labels, and auroc is n/a'
    """
    there: set[str] = set()
    for value in set(values):
        there.update(split_labels(value) if kind == "multi" else [value])
    missing = [name for name in names if name not in there]
    if not missing:
        return []
    counts = "it counts" if len(missing) == 1 else "they count"
    effect = f"{counts} 0 in averages over labels, and auroc is n/a"
    if split == "train":
        effect = "nothing is learned of it"
    return [
        f"{split}: no row has {len(missing)} of the {len(names)} labels"
        f" ({join_limited(missing, 3)}): {effect}"
    ]


def encode(
    values: Sequence[str],
    lines: Sequence[int],
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
                    f"{place}:{line}: label {value!r} is not a number;"
                    " for classes set data.kind: single"
                )
        return [float(v) for v in values]
    number = {name: i for i, name in enumerate(names)}
    if kind == "single" and number.keys() >= set(values):
        return [number[v] for v in values]
    lists = [split_labels(v) if kind == "multi" else [v] for v in values]
    unknown: dict[str, int] = {}
    for row, line in zip(lists, lines, strict=True):
        for name in row:
            if name not in number:
                unknown.setdefault(name, line)
    if unknown:
        first, line = next(iter(unknown.items()))
        raise UserError(
            f"{place}:{line}: label {first!r} is not in {known_from}"
            f" ({len(unknown)} such: {join_limited(unknown, 5)});"
            f" labels there: {join_limited(names)}."
            " Correct it, take the rows out, or add some to train"
        )
    numbers = [[number[n] for n in row] for row in lists]
    return numbers if kind == "multi" else [n[0] for n in numbers]
