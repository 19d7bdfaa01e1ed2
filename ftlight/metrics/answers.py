"""Answers as texts: exact match and F1 by the rules of SQuAD's own scripts, and the best threshold for "no answer".

The rules are those of evaluate-v1.1.py (Rajpurkar et al. 2016) and evaluate-v2.0.py (Rajpurkar et al. 2018); values are
shares from 0 to 1, theirs are percentages.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

NAN = float("nan")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles and extra white space.

    >>> normalize("The  Norman-French, a language")
    'normanfrench language'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(prediction: str, gold: str) -> float:
    """1 where two answers are the same after :func:`normalize`, else 0."""
    return float(normalize(prediction) == normalize(gold))


def f1(prediction: str, gold: str, v2: bool = False) -> float:
    """F1 of the words of two answers.

    Args:
        prediction: predicted answer.
        gold: right answer.
        v2: whether two answers without words are the same, as in SQuAD 2.0; in 1.1 they share no word.

    >>> f1("the cat sat", "cat")
    0.6666666666666666
    """
    a, b = normalize(prediction).split(), normalize(gold).split()
    if v2 and not (a and b):
        return float(a == b)
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b)) if common else 0.0


def scores(prediction: str, golds: Sequence[str], v2: bool = False) -> tuple[float, float]:
    """Exact match and F1 of an answer, each the best over the right ones.

    Args:
        prediction: predicted answer, empty for none.
        golds: right answers; none where the question has no answer.
        v2: whether by the rules of SQuAD 2.0, which has questions without an answer.

    >>> scores("Paris", ["in Paris", "Paris"])
    (1.0, 1.0)
    """
    if v2:
        golds = [g for g in golds if normalize(g)] or [""]
    return max(exact(prediction, g) for g in golds), max(f1(prediction, g, v2) for g in golds)


def best_threshold(no_answer: Tensor, value: Tensor, answerable: Tensor) -> tuple[float, float]:
    """The threshold above which "no answer" is predicted, with the best mean score.

    It lies in the middle between two neighbours, so that it does not cling to a row.

    Args:
        no_answer: how much speaks against an answer ``[rows]``.
        value: score of the predicted answer of a row ``[rows]``, 0 where the question has none.
        answerable: bool ``[rows]``, whether the question has an answer.

    Returns:
        The threshold and the mean score with it; nan for no rows.

    >>> best_threshold(torch.tensor([0.0, 0.25, 0.75]), torch.tensor([1.0, 1.0, 0.0]), torch.tensor([True, True, False]))
    (0.5, 1.0)
    """
    if not len(value):
        return NAN, NAN
    points, order = no_answer.double().sort(stable=True)
    gain = torch.where(answerable, value.double(), -torch.ones(len(value), dtype=torch.double))[
        order
    ]
    total = torch.cat([gain.new_zeros(1), gain.cumsum(0)]) + (~answerable).sum()
    between = torch.cat([points[:1] - 1, (points[:-1] + points[1:]) / 2, points[-1:] + 1])
    apart = torch.cat(
        [total.new_ones(1), points[1:] > points[:-1], total.new_ones(1)]
    ).bool()  # equal rows are on one side
    total = total.masked_fill(~apart, -torch.inf)
    best = int(total.argmax())
    return between[best].item(), (total[best] / len(value)).item()
