"""The correct answers of a question: as rows give them, and where they are in the context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftlight.utils.errors import UserError

# How an answer was placed if not as given: at the first of several occurrences, or at another one.
FIRST, MOVED = 1, 2
NEAR = 100  # characters that answer_start may be off if the answer occurs more than once


def golds(
    row: Mapping[str, Any], answer: str, answer_start: str, where: str
) -> list[tuple[str, int | None]]:
    """The correct answers of a row, each with its first character if given; none if unanswerable.

    Args:
        row: a row with a column ``answer``: a text, several, or texts with starts as in SQuAD.
        answer: name of that column.
        answer_start: name of the column of the answer's first character.
        where: file and line, for errors.

    >>> golds({"answers": {"text": ["Rome"], "answer_start": [3]}}, "answers", "answer_start", "")
    [('Rome', 3)]
    >>> golds({"answer": "Rome", "answer_start": "3"}, "answer", "answer_start", "")
    [('Rome', 3)]
    """
    golds = []
    for text, start in _pairs(row, answer, answer_start, where):
        if isinstance(text, (list, dict)):
            raise UserError(f"{where}: column {answer} holds {type(text).__name__}, expected text")
        if text is not None and text == text and str(text).strip():  # NaN is missing too
            golds.append(_stripped(str(text), _number(start, where, answer_start)))
    return golds


def _pairs(
    row: Mapping[str, Any], answer: str, answer_start: str, where: str
) -> list[tuple[Any, Any]]:
    """Texts and starts of a row's answers as they are given."""
    value = row[answer]
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        unequal = starts is not None and (
            not isinstance(starts, list) or not isinstance(texts, list) or len(starts) != len(texts)
        )
        if not isinstance(texts, list) or unequal:
            raise UserError(
                f'{where}: column {answer}: expected {{"text": [...], "answer_start": [...]}}'
                " with lists of one length"
            )
        return list(zip(texts, starts or [None] * len(texts), strict=True))
    if not isinstance(value, list):
        return [(value, row.get(answer_start))]
    pairs = []
    for item in value:
        nested = isinstance(item, Mapping)
        pairs.append((item.get("text"), item.get("answer_start")) if nested else (item, None))
    return pairs


def _number(value: Any, where: str, column: str) -> int | None:
    if value is None or value != value or str(value).strip() in ("", "-1"):
        return None
    try:
        number = value if isinstance(value, int) else int(float(value))
    except (TypeError, ValueError, OverflowError):
        number = -1
    if number < 0:
        raise UserError(
            f"{where}: {column} {value!r} is not a place in the context;"
            " give the number of the answer's first character, from 0"
        )
    return number


def _stripped(text: str, start: int | None) -> tuple[str, int | None]:
    return text.strip(), None if start is None else start + len(text) - len(text.lstrip())


def locate(context: str, text: str, start: int | None) -> tuple[int, int] | None:
    """Where an answer is in its context, and how it was found: 0, :data:`FIRST` or :data:`MOVED`.

    A start at which the text is not is moved to where it is, if that is near or the only place.

    Returns:
        Its first character, and how it was found; None if the context does not hold it.

    >>> locate("to be or not to be", "be", 16), locate("to be or not to be", "be", None)
    ((16, 0), (3, 1))
    >>> locate("to be or not to be", "be", 14)
    (16, 2)
    """
    if start is not None and context.startswith(text, start):
        return start, 0
    places = []
    at = context.find(text)
    while at >= 0:
        places.append(at)
        at = context.find(text, at + 1)
    if not places:
        return None
    if start is None:
        return places[0], FIRST if len(places) > 1 else 0
    nearest = min(places, key=lambda p: abs(p - start))
    return (nearest, MOVED) if len(places) == 1 or abs(nearest - start) <= NEAR else None
