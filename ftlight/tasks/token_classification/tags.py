"""Entities as spans of words: reading and writing tag schemes, and splitting text into words."""

from __future__ import annotations

import bisect
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

Span = tuple[str, int, int]
"""Type, start and exclusive end, in words or characters."""
Range = tuple[int, int]
Scheme = Literal["IOB1", "IOB2", "BIOES", "BILOU", "plain"]
LETTERS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
UNNAMED = "entity"
_TAG = re.compile(rf"([{''.join(LETTERS)}])(?:-(.*))?", re.DOTALL)
# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
UNSPACED = re.compile(
    "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


# Tags


def parts(tag: str) -> tuple[str, str]:
    """Splits a tag of any scheme into its letter (B, I, E, S or O) and type.

    A bare type counts as I: it continues a span of the same type.

    >>> parts("B-PER"), parts("U-creative-work"), parts("LOC"), parts("O")
    (('B', 'PER'), ('S', 'creative-work'), ('I', 'LOC'), ('O', ''))
    """
    if tag in ("O", ""):
        return "O", ""
    found = _TAG.fullmatch(tag)
    return ("I", tag) if found is None else (LETTERS[found[1]], found[2] or UNNAMED)


def find(tags: Iterable[str]) -> list[Span]:
    """Returns the spans of tags of any scheme.

    Reads as conlleval and seqeval's default mode do: an I- that continues nothing starts a span.

    >>> find(["I-PER", "I-PER", "B-PER", "O", "B-LOC", "I-ORG"])
    [('PER', 0, 2), ('PER', 2, 3), ('LOC', 4, 5), ('ORG', 5, 6)]
    """
    spans: list[Span] = []
    start, kind, last = -1, "", "O"
    for place, tag in enumerate([*tags, "O"]):
        letter, name = parts(tag)
        if not (start >= 0 and name == kind and letter in "IE" and last in "BI"):
            if start >= 0:
                spans.append((kind, start, place))
            start, kind = (place, name) if letter != "O" else (-1, "")
        last = letter
    return spans


def write(spans: Iterable[Span], words: int, scheme: Scheme = "IOB2") -> list[str]:
    """Returns the tags of spans that do not overlap; the inverse of :func:`find`.

    >>> write([("PER", 0, 2), ("PER", 2, 3)], 4, "IOB1")
    ['I-PER', 'I-PER', 'B-PER', 'O']
    >>> write([("PER", 0, 2), ("PER", 2, 3)], 4, "BIOES")
    ['B-PER', 'E-PER', 'S-PER', 'O']
    """
    tags = ["O"] * words
    single, last = {"BIOES": ("S", "E"), "BILOU": ("U", "L")}.get(scheme, ("B", "I"))
    for name, start, end in sorted(spans, key=lambda s: s[1]):
        letters = [single] if end - start == 1 else ["B", *"I" * (end - start - 2), last]
        if scheme == "plain" or (scheme == "IOB1" and not (start and tags[start - 1][2:] == name)):
            letters[0] = "I"
        tags[start:end] = [name if scheme == "plain" else f"{letter}-{name}" for letter in letters]
    return tags


def scheme(rows: Iterable[Sequence[str]]) -> Scheme:
    """Detects the scheme of tags by their letters, and IOB1 by its use of B-.

    In IOB1 a B- only separates two spans of one type.

    >>> scheme([["I-PER", "B-PER", "O"]]), scheme([["B-PER", "O"]])
    ('IOB1', 'IOB2')
    >>> scheme([["S-PER"]]), scheme([["PER", "O"]])
    ('BIOES', 'plain')
    """
    letters = set[str]()
    plain = b_starts = i_starts = False
    for tags in rows:
        before = ("O", "")
        for tag in tags:
            letter, name = now = parts(tag)
            starts = letter != "O" and (before[0] == "O" or before[1] != name)
            if letter != "O":
                plain |= _TAG.fullmatch(tag) is None
                letters.add(tag[0])
            b_starts |= starts and letter == "B"
            i_starts |= starts and letter == "I"
            before = now
    if plain:
        return "plain"
    if letters & set("ESLUW"):
        return "BILOU" if letters & set("LU") else "BIOES"
    return "IOB1" if i_starts and not b_starts else "IOB2"


def is_tag(text: str) -> bool:
    """Whether a word is O or a tag with a scheme letter."""
    return text == "O" or _TAG.fullmatch(text) is not None


def apart(spans: Iterable[Span]) -> list[Span]:
    """Drops spans that overlap a longer one.

    >>> apart([("PER", 0, 1), ("ORG", 0, 3), ("LOC", 4, 5)])
    [('ORG', 0, 3), ('LOC', 4, 5)]
    """
    separate: list[Span] = []
    for span in sorted(spans, key=lambda s: (s[1] - s[2], s[1])):
        if all(span[2] <= other[1] or other[2] <= span[1] for other in separate):
            separate.append(span)
    return sorted(separate, key=lambda s: s[1])


# Words in characters


def split(text: str) -> list[Range]:
    """Splits a text into words, as ranges of characters.

    White space separates words. Punctuation and symbols stand alone, and so does each character of
    a script without spaces (Han, kana, Thai, Lao, Khmer, Burmese) together with its marks.

    >>> [text[a:b] for text in ["Paris, 3.5 km"] for a, b in split(text)]
    ['Paris', ',', '3', '.', '5', 'km']
    """
    words: list[Range] = []
    start = -1
    for place, character in enumerate(text):
        kind = unicodedata.category(character)
        alone = kind[0] in "PS" or UNSPACED.match(character) is not None
        joins = kind[0] == "M" or character == "\u200d"
        if start < 0 and joins and words and words[-1][1] == place:
            words[-1] = (words[-1][0], place + 1)
            continue
        if start >= 0 and (character.isspace() or (alone and not joins)):
            words.append((start, place))
            start = -1
        if character.isspace():
            continue
        if alone:
            words.append((place, place + 1))
        elif start < 0:
            start = place
    return [*words, (start, len(text))] if start >= 0 else words


def unite(words: Sequence[Range], text: str, token: str) -> list[Range]:
    """Words of a text, with those inside of an occurrence of a token as one.

    >>> unite(split("is [MASK]."), "is [MASK].", "[MASK]")
    [(0, 2), (3, 9), (9, 10)]
    """
    if not token or token not in text:
        return list(words)
    places = [found.span() for found in re.finditer(re.escape(token), text)]
    united: dict[Range, None] = {}
    for start, end in words:
        around = (place for place in places if place[0] <= start and end <= place[1])
        united[next(around, (start, end))] = None
    return list(united)


def join(tokens: Sequence[str]) -> tuple[str, list[Range]]:
    """Joins words by spaces; returns the text and the characters of each word.

    >>> join(["New", "York"])
    ('New York', [(0, 3), (4, 8)])
    """
    ranges, place = [], 0
    for token in tokens:
        ranges.append((place, place + len(token)))
        place += len(token) + 1
    return " ".join(tokens), ranges


class Aligned(NamedTuple):
    """Spans in words.

    Attributes:
        spans: Type, first word, exclusive end.
        moved: Spans widened to whole words because they began or ended inside one.
        lost: Spans that touch no word.
    """

    spans: list[Span]
    moved: int
    lost: int


def align(spans: Iterable[Span], words: Sequence[Range]) -> Aligned:
    """Turns spans of characters into spans of the words they touch.

    >>> align([("LOC", 4, 12)], [(0, 3), (4, 7), (8, 14)])
    Aligned(spans=[('LOC', 1, 3)], moved=1, lost=0)
    """
    starts = [start for start, _ in words]
    ends = [end for _, end in words]
    aligned: dict[Span, None] = {}
    moved = lost = 0
    for name, start, end in spans:
        first = bisect.bisect_right(ends, start)
        after = bisect.bisect_left(starts, end)
        if first >= after:
            lost += 1
            continue
        moved += starts[first] < start or end < ends[after - 1]
        aligned[name, first, after] = None
    return Aligned(list(aligned), moved, lost)
