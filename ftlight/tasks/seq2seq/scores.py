"""Scores of generated texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ftlight.metrics import texts
from ftlight.metrics.intervals import bootstrap
from ftlight.metrics.words import Tokenizer

ROUGES = ("rouge1", "rouge2", "rougeLsum")


def compare(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    tokenize: str,
    uncased: bool = False,
) -> tuple[dict[str, float], tuple[float, float]]:
    """Computes BLEU, chrF and ROUGE of texts against all their references.

    Args:
        predictions: A text for each row.
        references: One or more texts for each row.
        tokenize: sacrebleu's name of how BLEU splits texts.
        uncased: Whether BLEU without capitals is wanted too.

    Returns:
        The values by name, nan if undefined, and the 95 % interval of BLEU.
    """
    values = {
        "bleu": texts.bleu(predictions, references, tokenize),
        "chrf": texts.chrf(predictions, references),
    }
    if uncased:
        small = [[r.lower() for r in several] for several in references]
        values["bleu_uncased"] = texts.bleu([p.lower() for p in predictions], small, tokenize)
    values |= texts.rouge(predictions, references, ROUGES)
    if math.isnan(values["bleu"]):
        return values, (math.nan, math.nan)
    parts = texts.bleu_parts(predictions, references, tokenize)
    return values, bootstrap(parts, texts.bleu_of, bounds=(0.0, 100.0))


def notes(references: Sequence[Sequence[str]], tokenize: Tokenizer) -> list[str]:
    """Says so if validation can have no BLEU, which is the monitor.

    Args:
        references: One or more texts for each row.
        tokenize: Option of the task.
    """
    if texts.countable(references, texts.tokenizer_of(tokenize, references)):
        return []
    return [
        "validation: no target has four words, so BLEU is n/a and tells no best checkpoint;"
        " read chrF and ROUGE"
    ]
