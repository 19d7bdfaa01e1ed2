"""What explains an answer, as plain values."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

Method = Literal["occlusion", "ig"]
"""How words are weighed: by what an answer loses without each, or by integrated gradients."""


class Word(NamedTuple):
    """A word, or a run of words, of a text.

    Attributes:
        start: its first character.
        end: the character behind it.
        weight: how much the answer's support falls without it; below 0 if it speaks against it.
    """

    start: int
    end: int
    weight: float


class Side(NamedTuple):
    """A text of a row, such as one of a pair.

    Attributes:
        name: its column, or what it is, such as user of a chat.
        text: the text.
        words: its words in order, without overlaps.
        span: the characters that the answer itself is; None if it is no part of the text.
    """

    name: str
    text: str
    words: Sequence[Word]
    span: tuple[int, int] | None = None


class Cell(NamedTuple):
    """A part of a picture, in shares of its width and height from the upper left corner."""

    left: float
    top: float
    right: float
    bottom: float
    weight: float


class Picture(NamedTuple):
    """A picture as the model sees it.

    Attributes:
        jpeg: the picture.
        cells: its parts, without overlaps.
    """

    jpeg: bytes
    cells: Sequence[Cell]


class Check(NamedTuple):
    """Whether the parts that weigh most are what decides.

    Attributes:
        removed: number of parts that were removed together: a fifth of all, one at least.
        of: number of parts.
        fall: how much the answer's score falls without those that weigh most.
        by_chance: the mean fall without as many others, drawn at random.
    """

    removed: int
    of: int
    fall: float
    by_chance: float

    @property
    def holds(self) -> bool:
        """Whether they matter more than parts drawn at random."""
        return self.fall > self.by_chance


class Neighbour(NamedTuple):
    """A row of train that is like the explained one.

    Attributes:
        text: its text, or the path of its image.
        label: its label, as far as it has one.
        likeness: cosine of their vectors.
        place: its line in the file.
    """

    text: str
    label: str
    likeness: float
    place: str


class Explanation(NamedTuple):
    """Why a model gives an answer.

    Attributes:
        answer: the answer, or the part of it that is explained, such as a label or an entity.
        score: its score: a probability, a cosine or a number.
        unit: what the score is: p, cosine, or value.
        sides: the texts with the weights of their words.
        picture: the picture with the weights of its parts.
        check: whether these weights are to be trusted; None if there is nothing to weigh.
        neighbours: rows of train that are most like it, if they are asked for.
    """

    answer: str
    score: float
    unit: str = "p"
    sides: Sequence[Side] = ()
    picture: Picture | None = None
    check: Check | None = None
    neighbours: Sequence[Neighbour] = ()


class Explained(NamedTuple):
    """A row with what explains its answers.

    Attributes:
        number: number of the row, from 0.
        row: the row as read.
        answer: what ``predict`` says of it.
        why: what explains it, of each part of the answer.
    """

    number: int
    row: Mapping[str, Any]
    answer: Mapping[str, Any]
    why: Sequence[Explanation]


def plain(why: Explanation) -> dict[str, Any]:
    """An explanation as JSON holds it; a picture is a JPEG in base64."""
    found: dict[str, Any] = why._asdict()
    for key in ("sides", "neighbours"):
        found[key] = [item._asdict() for item in found[key]]
    for side in found["sides"]:
        side["words"] = [word._asdict() for word in side["words"]]
    found["check"] = why.check and {**why.check._asdict(), "holds": why.check.holds}
    if why.picture is not None:
        cells = [cell._asdict() for cell in why.picture.cells]
        found["picture"] = {"jpeg": base64.b64encode(why.picture.jpeg).decode(), "cells": cells}
    return found
