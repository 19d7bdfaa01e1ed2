"""Units that spans are counted in: characters, UTF-16 units as in JavaScript, or UTF-8 bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from ftlight.tasks.token_classification import tags as spans
from ftlight.tasks.token_classification.marks import Mark

Unit = Literal["characters", "UTF-16 units", "UTF-8 bytes"]
UNITS: tuple[Unit, ...] = ("characters", "UTF-16 units", "UTF-8 bytes")
CLEAR = 10  # times fewer spans that fit no word: from then on another unit than characters counts


def in_characters(marks: Sequence[Mark], text: str, unit: Unit) -> list[Mark]:
    """The same spans counted in characters; -1 for a place that is inside a character or outside.

    >>> in_characters([Mark("PER", 3, 6)], "😀 Ann", "UTF-16 units")
    [Mark(kind='PER', start=2, end=5, copy=None)]
    """
    if unit == "characters" or text.isascii():
        return list(marks)
    encoding, size = ("utf-16-le", 2) if unit == "UTF-16 units" else ("utf-8", 1)
    data = text.encode(encoding, "surrogatepass")

    def place(number: int) -> int:
        if not 0 <= size * number <= len(data):
            return -1
        try:
            return len(data[: size * number].decode(encoding))
        except UnicodeDecodeError:
            return -1

    return [m._replace(start=place(m.start), end=place(m.end)) for m in marks]


def misses(marks: Iterable[Mark], text: str) -> int:
    """Counts the spans that are not their own text, or, if the file has none, no whole words."""
    count = 0
    for _, start, end, copy in marks:
        if not 0 <= start < end <= len(text):
            count += 1
        elif copy is not None:
            count += text[start:end] != copy
        else:
            cuts = _is_inside(text, start) or _is_inside(text, end)
            count += cuts or text[start:end].isspace()
    return count


def _is_inside(text: str, place: int) -> bool:
    """Whether a place is between two characters of one word."""
    return place > 0 and spans.split(text[place - 1 : place + 1]) == [(0, 2)]


def unit_of(rows: Iterable[tuple[str, Sequence[Mark]]]) -> Unit:
    """The unit that the spans of a file are counted in.

    It is characters, unless they put spans beside their text or into the middle of words where
    another unit does so ten times less. Only spans that differ in the two units are compared.

    Args:
        rows: text and spans of each row.
    """
    as_characters = dict.fromkeys(UNITS, 0)
    as_unit = dict.fromkeys(UNITS, 0)
    for text, marks in rows:
        if text.isascii() or not marks:
            continue
        for unit in UNITS[1:]:
            pairs = zip(marks, in_characters(marks, text, unit), strict=True)
            differ = [(mark, moved) for mark, moved in pairs if mark != moved]
            as_characters[unit] += misses([mark for mark, _ in differ], text)
            as_unit[unit] += misses([moved for _, moved in differ], text)
    best = max(UNITS, key=lambda unit: as_characters[unit] - as_unit[unit])
    is_clear = CLEAR * as_unit[best] <= as_characters[best] > 0
    return best if is_clear else "characters"


def unit_of_row(marks: Sequence[Mark], text: str, unit: Unit) -> Unit:
    """The unit of a row: that of the file, unless the texts of its spans tell of another."""
    copied = [mark for mark in marks if mark.copy is not None]
    if text.isascii() or not copied:
        return unit
    for candidate in (unit, *UNITS):
        if not misses(in_characters(copied, text, candidate), text):
            return candidate
    return unit
