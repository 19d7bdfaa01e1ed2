"""Occlusion: how much an answer loses without each word, from coarse to fine in long texts.

Zeiler and Fergus 2014 (arXiv:1311.2901) for images, Li et al. 2016 (arXiv:1612.08220) for words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ftlight.explain.units import Piece, divide

Support = Callable[[Sequence[Sequence[int]]], Sequence[float]]
"""Support of an answer with words masked: for each list of numbers of words."""
MOST = 64  # pieces that are tried in a turn
TURNS = 4  # in which long texts are divided further
SHARE = 0.2  # of words that the check removes
DRAWS = 5  # of as many words at random


def weigh(
    whole: Piece, support: Support, most: int = MOST
) -> tuple[float, list[Piece], list[float]]:
    """Weighs words by what the support falls by without them.

    Up to ``most`` words are masked one by one. Of more, sentences are masked first, or runs of
    them; then the heaviest are divided, at most ``TURNS`` times. The others keep one weight.

    Args:
        whole: all words.
        support: support of the answer with words masked.
        most: pieces that are tried in a turn.

    Returns:
        The support of the unchanged row, and the pieces in order, each with its weight.
    """
    pieces = divide(whole, most)
    unchanged, *values = support([[], *(piece.words for piece in pieces)])
    weights = [fall(unchanged, value) for value in values]
    for _ in range(TURNS):
        parts = _divided(pieces, weights, most)
        tried = [part.words for of_piece in parts.values() for part in of_piece]
        if not tried:
            break
        falls = iter([fall(unchanged, value) for value in support(tried)])
        old, pieces, weights = list(zip(pieces, weights, strict=True)), [], []
        for i, (piece, weight) in enumerate(old):
            pieces += parts.get(i, [piece])
            weights += [next(falls) for _ in parts[i]] if i in parts else [weight]
    return unchanged, pieces, weights


def _divided(
    pieces: Sequence[Piece], weights: Sequence[float], most: int
) -> dict[int, list[Piece]]:
    """The parts of the pieces to look into, in order: of the heaviest quarter, if there is room."""
    found, room = {}, most
    order = sorted(range(len(pieces)), key=lambda i: -weights[i])
    for i in order[: max(1, len(order) // 4)]:
        if len(pieces[i].words) > 1 and weights[i] > 0 and room > 1:
            found[i] = divide(pieces[i], room)
            room -= len(found[i])
    return dict(sorted(found.items()))


def of_words(pieces: Sequence[Piece], weights: Sequence[float]) -> np.ndarray:
    """A weight for each word ``[words]``: those of a piece share its weight."""
    found = np.zeros(sum(len(piece.words) for piece in pieces))
    for piece, weight in zip(pieces, weights, strict=True):
        found[list(piece.words)] = weight / len(piece.words)
    return found


def trials(weights: np.ndarray, seed: int = 0) -> list[list[int]]:
    """What the check removes: first the heaviest fifth of the words, then as many at random.

    Args:
        weights: weight of each word.
        seed: seed of the draws.
    """
    count = max(1, round(SHARE * len(weights)))
    heaviest = np.argsort(-weights, kind="stable")[:count]
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(len(weights))[:count].tolist() for _ in range(DRAWS)]
    return [heaviest.tolist(), *drawn]


def fall(whole: float, value: float) -> float:
    """What is lost; nothing if it cannot be measured, as where no text is left to read."""
    return 0.0 if math.isnan(value) else whole - value


def scored(support: float, unit: str) -> float:
    """A support as a person reads it: the probability of its logarithm, or the number itself."""
    return math.exp(support) if unit == "p" else support
