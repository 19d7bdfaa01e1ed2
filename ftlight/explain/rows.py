"""Explains the answers to rows: masks what is in them, and measures what the answers lose."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import numpy as np

from ftlight.data import tokens
from ftlight.data.files import Row
from ftlight.explain import gradients, occlusion, pictures
from ftlight.explain.explanation import Check, Explained, Explanation, Method, Side, Word
from ftlight.explain.support import supports
from ftlight.explain.units import Piece, Unit, masked, moved, units
from ftlight.metrics.evaluation import Asked
from ftlight.trainer.predictor import Predictor

AT_ONCE = 4  # rows that are answered together if there is little time


def explain(
    predictor: Predictor,
    rows: Sequence[Row],
    place: str = "rows",
    method: Method = "occlusion",
    seconds: float = math.inf,
) -> list[Explained]:
    """Explains the answers to rows, each part of an answer by itself.

    Args:
        predictor: the model.
        rows: rows with the input columns of training.
        place: file of the rows, for errors.
        method: how words are weighed.
        seconds: after so many no further row is begun.

    Returns:
        The rows that could be read, as far as the time went.

    Raises:
        UserError: the task cannot explain, or not by this method.
    """
    end, explained = time.monotonic() + seconds, list[Explained]()
    size = len(rows) if seconds == math.inf else AT_ONCE
    for start in range(0, len(rows), max(1, size)):
        some = list(rows[start : start + size])
        found = predictor.answer(some, place)
        numbers = [start + i for i in range(len(some)) if i not in found.faults]
        for number, row, answer in zip(numbers, found.rows, found.answers, strict=True):
            if time.monotonic() > end:
                return explained
            asked = predictor.task.asked(answer)
            why = [explain_one(predictor, row, part, method, place) for part in asked]
            known = [part for part in why if not math.isnan(part.score)]
            explained.append(Explained(number, row, answer, known))
    return explained


def explain_one(
    predictor: Predictor, row: Row, asked: Asked, method: Method, place: str
) -> Explanation:
    """Explains a part of an answer to a row; arguments as those of :func:`explain`.

    Raises:
        UserError: the method is none for such rows.
    """
    texts = predictor.data.texts_of(row)
    if not texts:
        return pictures.explain(predictor, row, asked, place)
    masking = Masking(predictor, row, texts, asked)
    if method == "ig":
        whole, weights = gradients.weigh(predictor, row, asked, masking.words)
        pieces = [Piece([word], [[word]]) for word in masking.piece.words]
    else:
        whole, pieces, by_piece = occlusion.weigh(masking.piece, masking.support)
        weights = occlusion.of_words(pieces, by_piece)
    unit = predictor.task.support_unit
    score = occlusion.scored(whole, unit)
    check = None
    if len(weights) > 1:
        removed = occlusion.trials(weights)
        top, *drawn = (
            occlusion.fall(score, occlusion.scored(value, unit))
            for value in masking.support(removed)
        )
        check = Check(len(removed[0]), len(weights), top, float(np.mean(drawn)))
    sides = _sides(masking, pieces, weights)
    return Explanation(asked.name, score, unit, sides, check=check)


class Masking:
    """A row whose words are masked while an answer stays.

    Args:
        predictor: the model.
        row: the row.
        texts: its texts by name.
        asked: the part of the answer that stays.
    """

    def __init__(
        self, predictor: Predictor, row: Row, texts: Mapping[str, str], asked: Asked
    ) -> None:
        self.predictor, self.row, self.texts, self.asked = predictor, row, texts, asked
        kept = {asked.text: asked.span} if asked.span is not None else {}
        self.words, self.piece = units(texts, kept)
        self.mask = tokens.hidden(predictor.data.tokenizer)

    def support(self, variants: Sequence[Sequence[int]]) -> list[float]:
        """Support of the answer with words masked, by their numbers, for each variant."""
        rows, asked = [], []
        for numbers in variants:
            changed, by_text = masked(self.texts, (self.words[i] for i in numbers), self.mask)
            rows.append(self.predictor.data.with_texts(self.row, changed))
            span = self.asked.span
            if span is not None:
                name = self.asked.text
                span = moved(self.texts[name], span, by_text[name], self.mask)
            asked.append(self.asked._replace(span=span))
        return supports(self.predictor, rows, asked)


def _sides(masking: Masking, pieces: Sequence[Piece], weights: np.ndarray) -> list[Side]:
    """The texts with the weights of their words; words of one piece are one run in each text."""
    words: dict[str, list[Word]] = {name: [] for name in masking.texts}
    span = masking.asked.span or (-1, -1)
    for piece in pieces:
        run: list[Unit] = []
        total = 0.0
        for number in piece.words:
            unit = masking.words[number]
            is_across = run and run[-1].end <= span[0] and unit.start >= span[1]
            if run and (unit.text != run[-1].text or is_across):
                words[run[0].text].append(Word(run[0].start, run[-1].end, total))
                run, total = [], 0.0
            run.append(unit)
            total += float(weights[number])
        words[run[0].text].append(Word(run[0].start, run[-1].end, total))
    found = []
    for name, text in masking.texts.items():
        own = masking.asked.span if name == masking.asked.text else None
        found.append(Side(name, text, words[name], own))
    return found
