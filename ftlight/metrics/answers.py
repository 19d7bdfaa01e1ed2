"""Exact match and F1 of answers by SQuAD's own rules, and the best no-answer threshold.

The rules are those of evaluate-v1.1.py (Rajpurkar et al. 2016) and evaluate-v2.0.py (Rajpurkar et
al. 2018). Values are shares from 0 to 1; those scripts print percentages.
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
    """Lower-cases a text and drops ASCII punctuation, English articles and extra white space.

    >>> normalize("The  Norman-French, a language")
    'normanfrench language'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(prediction: str, gold: str) -> float:
    """1 if two answers are equal after :func:`normalize`, else 0."""
    return float(normalize(prediction) == normalize(gold))


def f1(prediction: str, gold: str, v2: bool = False) -> float:
    """F1 over the words of two answers.

    Args:
        prediction: predicted answer.
        gold: correct answer.
        v2: whether two answers without any word are equal, as in SQuAD 2.0; in 1.1 they score 0.

    >>> f1("the cat sat", "cat")
    0.6666666666666666
    """
    predicted, actual = normalize(prediction).split(), normalize(gold).split()
    if v2 and not (predicted and actual):
        return float(predicted == actual)
    common = sum((Counter(predicted) & Counter(actual)).values())
    return 2 * common / (len(predicted) + len(actual)) if common else 0.0


def scores(prediction: str, golds: Sequence[str], v2: bool = False) -> tuple[float, float]:
    """Exact match and F1 of an answer, each the best over all correct answers.

    Args:
        prediction: predicted answer; empty for "no answer".
        golds: correct answers; empty if the question has none.
        v2: whether to score by the rules of SQuAD 2.0, which has questions without an answer.

    >>> scores("Paris", ["in Paris", "Paris"])
    (1.0, 1.0)
    """
    if v2:
        golds = [g for g in golds if normalize(g)] or [""]
    return max(exact(prediction, g) for g in golds), max(f1(prediction, g, v2) for g in golds)


def best_threshold(no_answer: Tensor, value: Tensor, answerable: Tensor) -> tuple[float, float]:
    """Finds the threshold above which to predict "no answer", for the best mean score.

    The threshold lies midway between two rows, so that it does not depend on one of them alone.

    Args:
        no_answer: score of "no answer" ``[rows]``.
        value: score of the predicted answer ``[rows]``; 0 if the question has none.
        answerable: whether the question has an answer, bool ``[rows]``.

    Returns:
        The threshold and the mean score with it; nan for no rows.

    >>> against, value = torch.tensor([0.0, 0.25, 0.75]), torch.tensor([1.0, 1.0, 0.0])
    >>> best_threshold(against, value, torch.tensor([True, True, False]))
    (0.5, 1.0)
    """
    if not len(value):
        return NAN, NAN
    points, order = no_answer.double().sort(stable=True)
    # what the total gains if a row gets its answer instead of "no answer"
    gain = torch.where(answerable, value.double(), -torch.ones(len(value), dtype=torch.double))
    gain = gain[order]
    total = torch.cat([gain.new_zeros(1), gain.cumsum(0)]) + (~answerable).sum()
    between = torch.cat([points[:1] - 1, (points[:-1] + points[1:]) / 2, points[-1:] + 1])
    end = torch.ones(1, dtype=torch.bool, device=points.device)
    apart = torch.cat([end, points[1:] > points[:-1], end])  # no threshold divides equal rows
    total = total.masked_fill(~apart, -torch.inf)
    best = int(total.argmax())
    return between[best].item(), (total[best] / len(value)).item()
