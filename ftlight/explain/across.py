"""What decides across rows: words that often decide an answer, rightly or wrongly."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ftlight.data.findings import Finding
from ftlight.data.near import plain
from ftlight.data.shortcuts import in_name
from ftlight.explain.explanation import Explained, Explanation, Side

HEAVY = 0.5  # share of the heaviest word's weight from which on a word decides
LEAST = 3  # rows of a class that a word must decide to be a finding
SHARE = 0.5  # of the explained rows of a class
SHOWN = 5  # words of a class
KIND = "decides"
EDGES = re.compile(r"^\W+|\W+$")


class Decider(NamedTuple):
    """A word that decides for a class.

    Attributes:
        label: the class that is answered.
        word: the word, in small letters.
        rows: explained rows with this answer that it decides.
        of: explained rows with this answer.
        wrong: whether these are rows in which the answer is wrong.
    """

    label: str
    word: str
    rows: int
    of: int
    wrong: bool


def deciders(explained: Sequence[Explained], right: Sequence[bool]) -> list[Decider]:
    """The words that decide answers, those of most rows first.

    A word decides if without it the answer falls at least half as much as without the heaviest.

    Args:
        explained: rows with what explains their answers.
        right: whether the answer of each is right.
    """
    rows, of = Counter[tuple[str, bool]](), Counter[tuple[str, str, bool]]()
    for row, is_right in zip(explained, right, strict=True):
        for why in row.why:
            key = why.answer, not is_right
            rows[key] += 1
            of.update((why.answer, word, not is_right) for word in heavy(why))
    found = [
        Decider(label, word, count, rows[label, wrong], wrong)
        for (label, word, wrong), count in of.items()
    ]
    return sorted(found, key=lambda d: (-d.rows, -d.rows / d.of, d.label, d.word))


def heavy(why: Explanation) -> set[str]:
    """The words that decide an answer, in small letters and without marks at their edges."""
    return {word for side in why.sides for word in _heavy(side, _heaviest(why.sides))}


def _heaviest(sides: Iterable[Side]) -> float:
    return max((word.weight for side in sides for word in side.words), default=0.0)


def _heavy(side: Side, heaviest: float) -> list[str]:
    if heaviest <= 0:
        return []
    found = []
    for word in side.words:
        text = side.text[word.start : word.end]
        if word.weight >= HEAVY * heaviest and not any(letter.isspace() for letter in text):
            found.append(EDGES.sub("", text.casefold()) or text)
    return found


def findings(deciders: Iterable[Decider], split: str) -> list[Finding]:
    """What should be looked at: words that decide a class, or errors, more than one would expect.

    Words of the class's own name are left out, if the answers are right.

    Those that decide the largest share of a class come first.

    Args:
        deciders: the words.
        split: split of the rows.
    """
    found = []
    for item in sorted(deciders, key=lambda d: (-d.rows / d.of, -d.rows)):
        if item.rows < LEAST or (not item.wrong and item.rows < SHARE * item.of):
            continue
        parts = plain(item.word).split()
        if not item.wrong and any(in_name(part, item.label) for part in parts):
            continue
        what = f"{item.word!r} decides {item.label} in {item.rows} of {item.of} explained rows"
        if item.wrong:
            message, option = f"{what} that are not", f"look at rows with {item.word!r} in train"
        else:
            message, option = what, "if the word is no reason, remove it from the texts"
        found.append(Finding("look", KIND, split, message, item.rows, option=option))
    return found


def by_label(deciders: Sequence[Decider], wrong: bool) -> list[tuple[str, list[str]]]:
    """For each class the words that most often decide it, with the numbers of rows.

    Args:
        deciders: the words, those of most rows first.
        wrong: whether of rows in which the answer is wrong.
    """
    found: dict[str, list[str]] = {}
    for item in deciders:
        words = found.setdefault(item.label, [])
        if item.wrong == wrong and len(words) < SHOWN and (item.rows > 1 or not words):
            words.append(f"{item.word} {item.rows}/{item.of}")
    return [(label, words) for label, words in found.items() if words]


def choose(right: Sequence[bool], labels: Sequence[str], most: int) -> list[int]:
    """Rows to explain: up to half of them wrong ones, and of all classes alike.

    Args:
        right: whether the answer of each row is right.
        labels: label of each row; all the same if there are none.
        most: number of rows to choose at most.

    >>> choose([True, True, False, True], ["a", "a", "a", "b"], 2)
    [2, 0]
    """
    wrong = _in_turn([i for i, is_right in enumerate(right) if not is_right], labels)
    others = _in_turn([i for i, is_right in enumerate(right) if is_right], labels)
    count = max(most // 2, most - len(others))
    chosen = wrong[:count]
    return [*chosen, *others[: most - len(chosen)]]


def _in_turn(rows: Sequence[int], labels: Sequence[str]) -> list[int]:
    """Rows so that those of each class come in turn."""
    seen = Counter[str]()
    turns = []
    for row in rows:
        turns.append((seen[labels[row]], row))
        seen[labels[row]] += 1
    return [row for _, row in sorted(turns)]
