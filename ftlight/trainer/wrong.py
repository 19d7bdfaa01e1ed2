"""The rows of a test that a person should look at: errors, the surest first, then doubtful ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

DOUBTFUL = 20  # right rows of the least score that are shown
WORST = 50  # rows that are shown of a task without right and wrong


class Choice(NamedTuple):
    """A row to look at.

    Attributes:
        row: its number in the order of the rows.
        why: wrong, doubtful or worst.
    """

    row: int
    why: str


def choose(
    answers: Sequence[Mapping[str, Any]], goodness: Sequence[float], is_right_or_wrong: bool
) -> list[Choice]:
    """The rows to look at, in order.

    An error that a model is sure of is either a wrong label or something that it has learned
    wrongly; a right answer that it is not sure of is next to be wrong.

    Args:
        answers: answer to each row, with its ``score``.
        goodness: how good each row is, more is better; 1 if it is right.
        is_right_or_wrong: whether answers are; if not, the worst rows are chosen.

    >>> choose([{"score": 0.6}, {"score": 0.9}, {"score": 0.7}], [0, 0, 1], True)
    [Choice(row=1, why='wrong'), Choice(row=0, why='wrong'), Choice(row=2, why='doubtful')]
    >>> choose([{"score": 3.0}, {"score": 9.0}], [-4.0, -25.0], False)[0]
    Choice(row=1, why='worst')
    """
    rows = range(len(answers))
    if not is_right_or_wrong:
        return [Choice(i, "worst") for i in sorted(rows, key=goodness.__getitem__)[:WORST]]
    sure = [answer["score"] for answer in answers]
    wrong = sorted((i for i in rows if goodness[i] < 1), key=lambda i: -sure[i])
    right = sorted((i for i in rows if goodness[i] >= 1), key=sure.__getitem__)
    return [
        *(Choice(i, "wrong") for i in wrong),
        *(Choice(i, "doubtful") for i in right[:DOUBTFUL]),
    ]
