"""Explanations as a page draws them: words in shades, pictures under veils, checks in a line."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from ftlight.explain.explanation import Cell, Explanation, Neighbour, Picture, Side
from ftlight.explain.shown import check_line, heaviest
from ftlight.report.numbers import number, short

SHADES = 5
LEAST = 0.05  # of the greatest weight: what is less is not shaded
TEXT = 4000  # characters of a text that are shown
STRONG = 5  # words that are named beside the shades


class Piece(NamedTuple):
    """A piece of a text.

    Attributes:
        text: the piece.
        shade: class of its shade: f1 to f5 if it speaks for the answer, a1 to a5 if against it;
            empty for none.
        is_answer: whether it is the answer itself.
    """

    text: str
    shade: str
    is_answer: bool


class Veil(NamedTuple):
    """A part of a picture in units of a hundredth, with the class of its shade."""

    x: float
    y: float
    width: float
    height: float
    shade: str


class ShadedPicture(NamedTuple):
    """A picture with the weights of its parts.

    Attributes:
        source: the picture as a ``data:`` address.
        width: its pixels across.
        height: its pixels downwards.
        veils: its parts.
        size: bytes of the address.
    """

    source: Markup
    width: int
    height: int
    veils: Sequence[Veil]
    size: int


class Text(NamedTuple):
    """A text of a row.

    Attributes:
        name: its column.
        pieces: its pieces in order.
        more: characters that are left out.
    """

    name: str
    pieces: Sequence[Piece]
    more: int


class Shaded(NamedTuple):
    """Why a model gives an answer, as it is drawn.

    Attributes:
        answer: the answer.
        score: its score in words.
        texts: the texts with their words shaded.
        picture: the picture; None if there is none.
        strongest: the words that weigh most, and by how much, in words.
        check: whether the weights are to be trusted, in a sentence; empty if there is no check.
        holds: whether they are.
        neighbours: rows of train that are most like it.
    """

    answer: str
    score: str
    texts: Sequence[Text]
    picture: ShadedPicture | None
    strongest: str
    check: str
    holds: bool
    neighbours: Sequence[Neighbour]


def shaded(why: Explanation) -> Shaded:
    """An explanation as a page draws it."""
    most = heaviest(why)
    what = "words" if why.picture is None else "parts"
    said = "" if why.check is None else check_line(why.check, why.unit, what)
    return Shaded(
        why.answer,
        f"{why.unit} {short(why.score) if why.unit == 'p' else number(why.score)}",
        [_text(side, most) for side in why.sides],
        None if why.picture is None else picture(why.picture),
        strongest(why.sides),
        said and f"{said[0].upper()}{said[1:]}.",
        why.check is None or why.check.holds,
        why.neighbours,
    )


def strongest(sides: Sequence[Side]) -> str:
    """The words that weigh most, with their weights; empty without any.

    >>> from ftlight.explain.explanation import Word
    >>> strongest([Side("text", "late parcel", [Word(0, 4, 0.61), Word(5, 11, -0.1)])])
    'late .61, parcel \u2212.10'
    """
    words = [(side.text[w.start : w.end], w.weight) for side in sides for w in side.words]
    words = sorted((w for w in words if w[1]), key=lambda word: -abs(word[1]))[:STRONG]
    return ", ".join(f"{' '.join(text[:60].split())} {short(weight)}" for text, weight in words)


def shade(weight: float, most: float) -> str:
    """The class of a weight's shade.

    Args:
        weight: the weight.
        most: the greatest there is, without its sign.

    >>> shade(0.5, 0.5), shade(-0.1, 0.5), shade(0.001, 0.5), shade(0.0, 0.0)
    ('f5', 'a1', '', '')
    """
    share = abs(weight) / most if most else 0.0
    if share < LEAST:
        return ""
    return f"{'f' if weight > 0 else 'a'}{max(1, min(SHADES, round(share * SHADES)))}"


def _text(side: Side, most: float) -> Text:
    """A text cut into pieces, each of which has one shade."""
    text, end = side.text[:TEXT], min(len(side.text), TEXT)
    marks = [(w.start, w.end, shade(w.weight, most)) for w in side.words if w.start < end]
    cuts = {0, end, *(max(0, min(end, at)) for mark in marks for at in mark[:2])}
    cuts |= {max(0, min(end, at)) for at in side.span or ()}
    places, pieces, here = sorted(cuts), list[Piece](), 0
    for start, stop in itertools.pairwise(places):
        while here < len(marks) and marks[here][1] <= start:
            here += 1
        inside = here < len(marks) and marks[here][0] <= start
        is_answer = side.span is not None and side.span[0] <= start < side.span[1]
        pieces.append(Piece(text[start:stop], marks[here][2] if inside else "", is_answer))
    return Text(side.name, pieces, len(side.text) - end)


def picture(found: Picture) -> ShadedPicture:
    """A picture as a page holds it."""
    width, height = jpeg_size(found.jpeg)
    most = max((abs(cell.weight) for cell in found.cells), default=0.0)
    data = base64.b64encode(found.jpeg).decode()
    source = Markup(f"data:image/jpeg;base64,{data}")
    return ShadedPicture(source, width, height, [_veil(c, most) for c in found.cells], len(source))


def _veil(cell: Cell, most: float) -> Veil:
    left, top, right, bottom = (100 * min(1.0, max(0.0, end)) for end in cell[:4])
    width, height = round(right - left, 2), round(bottom - top, 2)
    return Veil(round(left, 2), round(top, 2), width, height, shade(cell.weight, most) or "f0")


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG, from its header; a square if that says neither.

    >>> jpeg_size(bytes.fromhex("ffd8ffc0001108000a0014")), jpeg_size(b"nothing")
    ((20, 10), (224, 224))
    """
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = (int.from_bytes(data[at + i : at + i + 2]) for i in (5, 7))
            return (width, height) if width and height else (224, 224)
        at += 2 + max(2, length)
    return 224, 224
