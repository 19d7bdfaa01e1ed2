"""Scores of language models and of the texts they generate: perplexity, BLEU, chrF and ROUGE.

ROUGE is our own: torchmetrics agrees, but is several times slower, counts in float32, and needs
nltk for ROUGE-Lsum; rouge-score needs nltk, too.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ftlight.utils.errors import UserError

NAN = float("nan")
ORDER = 4  # BLEU's longest n-grams, in words
KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
WORD = re.compile(r"[a-z0-9]+")


def perplexity(loss: float, tokens: float) -> float:
    """Exponential of the mean loss; nan for no tokens.

    Args:
        loss: sum of the negative log-likelihoods of the tokens, in nats.
        tokens: number of tokens.

    >>> perplexity(0.0, 5), perplexity(math.log(8), 3)
    (1.0, 2.0)
    """
    return math.exp(min(loss / tokens, 700)) if tokens else NAN  # exp overflows at 710


# BLEU and chrF


def require() -> Any:
    """Imports sacrebleu's metrics.

    Raises:
        UserError: sacrebleu is not installed.
    """
    try:
        import sacrebleu.metrics
    except ImportError as error:
        raise UserError("BLEU and chrF need sacrebleu: pip install ftlight[generation]") from error
    return sacrebleu.metrics


def bleu_parts(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Tensor:
    """Counts for corpus BLEU by row; those of several rows are added.

    Args:
        predictions: a text for each row.
        references: one or more texts for each row.

    Returns:
        ``float64 [rows, 10]``: matching 1-, 2-, 3- and 4-grams, 1- to 4-grams of the prediction,
        words of the prediction, words of the reference that is nearest in length.
    """
    scorer = require().BLEU(effective_order=True)  # without it counts are equal, but each row warns
    rows = []
    for prediction, several in zip(predictions, references, strict=True):
        score = scorer.sentence_score(prediction, list(several))
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 2 * ORDER + 2)


def bleu_of(parts: Tensor) -> float:
    """Corpus BLEU from added counts, with sacrebleu's exponential smoothing.

    Args:
        parts: ``[10]``, a sum of rows of :func:`bleu_parts`.
    """
    counts = [int(v) for v in parts.tolist()]
    correct, total = counts[:ORDER], counts[ORDER : 2 * ORDER]
    compute = require().BLEU.compute_bleu
    return float(compute(correct, total, counts[-2], counts[-1], smooth_method="exp").score)


def bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU (Papineni et al. 2002) as sacrebleu computes it by default.

    Those defaults are 13a tokenization and exponential smoothing.

    Args:
        predictions: a text for each row.
        references: one or more texts for each row; their number may differ.

    Returns:
        0 to 100; nan for no rows.
    """
    return bleu_of(bleu_parts(predictions, references).sum(0)) if len(predictions) else NAN


def chrf(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus chrF (Popović 2015) as sacrebleu computes it by default.

    Those defaults are 1- to 6-grams of characters, and recall weighted twice.

    Args:
        predictions: a text for each row.
        references: one or more texts for each row; the best of them counts.

    Returns:
        0 to 100; nan for no rows.
    """
    if not len(predictions):
        return NAN
    most = max(len(r) for r in references)
    streams = [[r[i] if i < len(r) else None for r in references] for i in range(most)]
    return float(require().CHRF().corpus_score(list(predictions), streams).score)


# ROUGE


def words(text: str) -> list[str]:
    """Splits a text into words as ROUGE does: lower-case runs of a-z and 0-9.

    >>> words("It's 5 o'clock.")
    ['it', 's', '5', 'o', 'clock']
    """
    return WORD.findall(text.lower())


def _f1(hits: int, predicted: int, actual: int) -> float:
    precision, recall = hits / max(predicted, 1), hits / max(actual, 1)
    return 2 * precision * recall / (precision + recall) if hits else 0.0


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def _rouge_n(prediction: str, reference: str, n: int) -> float:
    predicted, actual = _ngrams(words(prediction), n), _ngrams(words(reference), n)
    return _f1((predicted & actual).total(), predicted.total(), actual.total())


def _lcs(a: Sequence[str], b: Sequence[str]) -> list[int]:
    """Table of the longest common subsequence: bits over ``b`` for each prefix of ``a``.

    The first i words of ``a`` and j of ``b`` have a subsequence as long as row i has zeros in its
    lowest j bits. Hyyrö (2004): one addition of long integers per word replaces a loop over ``b``.
    """
    full = (1 << len(b)) - 1
    places = dict.fromkeys(b, 0)
    for j, word in enumerate(b):
        places[word] |= 1 << j
    table = [full]
    for word in a:
        row, match = table[-1], places.get(word, 0)
        table.append(((row + (row & match)) | (row & ~match)) & full)
    return table


def lcs_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    >>> lcs_length("a b c d".split(), "b x d".split())
    2
    """
    return len(b) - _lcs(a, b)[-1].bit_count()


def _lcs_places(a: Sequence[str], b: Sequence[str]) -> set[int]:
    """Positions in ``a`` of the longest common subsequence that rouge-score picks."""
    table = _lcs(a, b)
    i, j = len(a), len(b)
    places = set()

    def length(i: int, j: int) -> int:
        return j - (table[i] & ((1 << j) - 1)).bit_count()

    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            places.add(i)
        elif length(i, j - 1) > length(i - 1, j):
            j -= 1
        else:
            i -= 1
    return places


def _rouge_l(prediction: str, reference: str) -> float:
    predicted, actual = words(prediction), words(reference)
    return _f1(lcs_length(actual, predicted), len(predicted), len(actual))


def _rouge_lsum(prediction: str, reference: str) -> float:
    predicted = [words(line) for line in prediction.split("\n") if line]
    actual = [words(line) for line in reference.split("\n") if line]
    # a word counts at most as often as both texts have it
    left = Counter(chain.from_iterable(predicted)) & Counter(chain.from_iterable(actual))
    hits = 0
    for line in actual:
        places = set().union(*(_lcs_places(line, p) for p in predicted))
        for word in [line[i] for i in places]:
            if left[word] > 0:
                hits += 1
                left[word] -= 1
    return _f1(hits, sum(map(len, predicted)), sum(map(len, actual)))


def _scorer(kind: str) -> Callable[[str, str], float]:
    if kind == "rougeL":
        return _rouge_l
    if kind == "rougeLsum":
        return _rouge_lsum
    if not re.fullmatch(r"rouge[1-9]", kind):
        raise ValueError(f"{kind} is not a ROUGE; choose rouge1 to rouge9, rougeL or rougeLsum")
    return lambda prediction, reference: _rouge_n(prediction, reference, int(kind[5:]))


def rouge_rows(
    predictions: Sequence[str], references: Sequence[Sequence[str]], kinds: Iterable[str] = KINDS
) -> dict[str, list[float]]:
    """ROUGE F1 of each row (Lin 2004) as the package rouge-score computes it without stemming.

    Args:
        predictions: a text for each row.
        references: one or more texts for each row; the best of them counts.
        kinds: rouge1 to rouge9 (n-grams), rougeL or rougeLsum (longest common subsequence of texts
            or of lines).

    Returns:
        For each kind a value per row, 0 to 1.
    """
    pairs = list(zip(predictions, references, strict=True))
    return {
        kind: [max(_scorer(kind)(p, r) for r in several) for p, several in pairs] for kind in kinds
    }


def rouge(
    predictions: Sequence[str], references: Sequence[Sequence[str]], kinds: Iterable[str] = KINDS
) -> dict[str, float]:
    """Means of :func:`rouge_rows` over the rows, by kind: 0 to 1; nan for no rows."""
    rows = rouge_rows(predictions, references, kinds)
    return {kind: sum(row) / len(row) if row else NAN for kind, row in rows.items()}
