"""The parts of texts that are masked one by one: words, sentences, and runs of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.metrics.words import HAN, KANA, SOUTHEAST

# A run without spaces; in scripts that do not divide words, each character.
WORD = re.compile(rf"[{HAN}{KANA}{SOUTHEAST}]|[^\s{HAN}{KANA}{SOUTHEAST}]+")
END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n+")
Span = tuple[int, int]


class Unit(NamedTuple):
    """A word: the name of its text, its first character and the one behind it."""

    text: str
    start: int
    end: int


class Piece(NamedTuple):
    """Some of the words of a row, which are masked together.

    Attributes:
        words: their numbers, in order.
        sentences: the numbers again, a list for each sentence.
    """

    words: Sequence[int]
    sentences: Sequence[Sequence[int]]


def units(texts: Mapping[str, str], kept: Mapping[str, Span]) -> tuple[list[Unit], Piece]:
    """The words of texts, and all of them as one piece.

    Args:
        texts: texts by name.
        kept: characters of a text that belong to the answer, by its name; words that reach into
            them are no units.

    >>> found, piece = units({"text": "Hello. Who are you?"}, {"text": (0, 6)})
    >>> [(unit.start, unit.end) for unit in found], piece.sentences
    ([(7, 10), (11, 14), (15, 19)], [[0, 1, 2]])
    """
    found: list[Unit] = []
    sentences: list[list[int]] = []
    for name, text in texts.items():
        ends = [match.end() for match in END.finditer(text)] + [len(text)]
        first, last = kept.get(name, (-1, -1))
        sentence: list[int] = []
        for match in WORD.finditer(text):
            while match.start() >= ends[0]:
                ends.pop(0)
                sentences.append(sentence)
                sentence = []
            if match.end() <= first or match.start() >= last:
                sentence.append(len(found))
                found.append(Unit(name, match.start(), match.end()))
        sentences.append(sentence)
    sentences = [sentence for sentence in sentences if sentence]
    return found, Piece(range(len(found)), sentences)


def divide(piece: Piece, most: int) -> list[Piece]:
    """Divides a piece into at most so many: words if they fit, else sentences or runs of either.

    >>> all_words = Piece(range(5), [[0, 1], [2], [3, 4]])
    >>> [list(part.words) for part in divide(all_words, 5)]
    [[0], [1], [2], [3], [4]]
    >>> [list(part.words) for part in divide(all_words, 4)]
    [[0, 1], [2], [3, 4]]
    >>> [list(part.words) for part in divide(all_words, 2)]
    [[0, 1, 2], [3, 4]]
    """
    if len(piece.words) <= most:
        return [Piece([word], [[word]]) for word in piece.words]
    if len(piece.sentences) == 1:
        runs = even(piece.words, most)
        return [Piece(run, [run]) for run in runs]
    parts = []
    for group in even(piece.sentences, most):
        words = [word for sentence in group for word in sentence]
        parts.append(Piece(words, group))
    return parts


def even(items: Sequence[Any], most: int) -> list[Sequence[Any]]:
    """Divides items into at most so many runs of like length."""
    count = min(len(items), most)
    ends = [round((i + 1) * len(items) / count) for i in range(count)]
    return [items[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def masked(
    texts: Mapping[str, str], words: Iterable[Unit], mask: str
) -> tuple[dict[str, str], dict[str, list[Unit]]]:
    """Texts with words replaced by a mask, or left out if that is empty.

    Args:
        texts: texts by name.
        words: the words.
        mask: what stands in place of each.

    Returns:
        The texts, and the words of each in order, for :func:`moved`.

    >>> masked({"text": "Who are you?"}, [Unit("text", 4, 7)], "[MASK]")[0]
    {'text': 'Who [MASK] you?'}
    >>> masked({"text": "Who are you?"}, [Unit("text", 4, 7)], "")[0]
    {'text': 'Who you?'}
    """
    by_text: dict[str, list[Unit]] = {name: [] for name in texts}
    for word in sorted(words, key=lambda unit: unit.start):
        by_text[word.text].append(word)
    changed = {}
    for name, text in texts.items():
        parts, last = [], 0
        for word in by_text[name]:
            parts += [text[last : word.start], mask]
            last = _after(text, word, mask)
        changed[name] = "".join([*parts, text[last:]])
    return changed, by_text


def moved(text: str, span: Span, words: Iterable[Unit], mask: str) -> Span:
    """Where a span is after words before it were masked.

    >>> moved("Who are you?", (8, 11), [Unit("text", 4, 7)], "[MASK]")
    (11, 14)
    """
    shift = 0
    for word in words:
        if word.start < span[0]:
            shift += len(mask) - (_after(text, word, mask) - word.start)
    return span[0] + shift, span[1] + shift


def _after(text: str, word: Unit, mask: str) -> int:
    """Where the text goes on behind a word: without a mask its space goes, too."""
    has_space = not mask and text[word.end : word.end + 1] == " "
    return word.end + has_space
