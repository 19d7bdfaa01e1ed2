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
from typing import Any, get_args

import torch
from torch import Tensor

from ftlight.metrics.intervals import NAN, bootstrap
from ftlight.metrics.subsequences import lcs_length, lcs_places
from ftlight.metrics.words import Tokenizer, bleu_tokenizer, words
from ftlight.utils.errors import UserError, unknown

ORDER = 4  # BLEU's longest n-grams, in words
KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def perplexity(loss: float, tokens: float) -> float:
    """Exponential of the mean loss; nan for no tokens.

    Args:
        loss: sum of the negative log-likelihoods of the tokens, in nats.
        tokens: number of tokens.

    >>> perplexity(0.0, 5), perplexity(math.log(8), 3)
    (1.0, 2.0)
    """
    return math.exp(min(loss / tokens, 700)) if tokens else NAN  # exp overflows at 710


def bootstrap_perplexity(parts: Tensor) -> tuple[float, float]:
    """95 % interval of the perplexity, from that of the mean loss, whose ends are less askew.

    Args:
        parts: sum of the losses and number of tokens of each row ``[rows, 2]``.
    """

    def mean(sums: Tensor) -> float:
        return float(sums[0] / sums[1]) if sums[1] else NAN

    low, high = bootstrap(parts, mean, bounds=(0.0, math.inf))
    return perplexity(low, 1), perplexity(high, 1)


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


def tokenizer_of(tokenize: Tokenizer, references: Sequence[Sequence[str]]) -> str:
    """The name of sacrebleu's tokenizer: the given one, or for ``auto`` that of the references.

    Raises:
        UserError: there is none of this name, or a library that it needs is not installed.
    """
    if tokenize not in get_args(Tokenizer):
        names = get_args(Tokenizer)
        raise UserError(unknown("model.bleu_tokenize: no tokenizer", tokenize, names, "tokenizers"))
    if tokenize == "auto":
        require()
        return bleu_tokenizer(chain.from_iterable(references))
    try:
        require().BLEU(tokenize=tokenize)
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"model.bleu_tokenize: {tokenize} needs a library:"
            f" pip install 'sacrebleu[{tokenize[:2]}]'"
        ) from error
    return tokenize


def bleu_parts(
    predictions: Sequence[str], references: Sequence[Sequence[str]], tokenize: str = "13a"
) -> Tensor:
    """Counts for corpus BLEU by row; those of several rows are added.

    Args:
        predictions: a text for each row.
        references: one or more texts for each row.
        tokenize: sacrebleu's name of how texts are split.

    Returns:
        ``float64 [rows, 10]``: matching 1-, 2-, 3- and 4-grams, 1- to 4-grams of the prediction,
        words of the prediction, words of the reference that is nearest in length.
    """
    # without the effective order counts are equal, but each row warns
    scorer = require().BLEU(tokenize=tokenize, effective_order=True)
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


def countable(references: Sequence[Sequence[str]], tokenize: str = "13a") -> bool:
    """Whether any reference has the four words without which even a perfect text has a BLEU of 0.

    Args:
        references: texts for each row.
        tokenize: sacrebleu's name of how texts are split.
    """
    scorer = require().BLEU(tokenize=tokenize, effective_order=True)
    lengths = (scorer.sentence_score(r, [r]).sys_len for several in references for r in several)
    return any(length >= ORDER for length in lengths)


def bleu(
    predictions: Sequence[str], references: Sequence[Sequence[str]], tokenize: str = "13a"
) -> float:
    """Corpus BLEU (Papineni et al. 2002) as sacrebleu computes it, with exponential smoothing.

    Args:
        predictions: a text for each row.
        references: one or more texts for each row; their number may differ.
        tokenize: sacrebleu's name of how texts are split.

    Returns:
        0 to 100; nan if no reference is :func:`countable`.
    """
    if not countable(references, tokenize):
        return NAN
    return bleu_of(bleu_parts(predictions, references, tokenize).sum(0))


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


def _f1(hits: int, predicted: int, actual: int) -> float:
    precision, recall = hits / max(predicted, 1), hits / max(actual, 1)
    return 2 * precision * recall / (precision + recall) if hits else 0.0


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def _rouge_n(prediction: str, reference: str, n: int) -> float:
    predicted, actual = _ngrams(words(prediction), n), _ngrams(words(reference), n)
    return _f1((predicted & actual).total(), predicted.total(), actual.total())


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
        places = set().union(*(lcs_places(line, p) for p in predicted))
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

    Words are those of :func:`.words.words`, for ASCII the same as in rouge-score.

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
    """Means of :func:`rouge_rows` over the rows, by kind: 0 to 1.

    They are nan if no reference has a letter or digit.
    """
    if not any(words(text) for several in references for text in several):
        return dict.fromkeys(kinds, NAN)
    rows = rouge_rows(predictions, references, kinds)
    return {kind: sum(row) / len(row) for kind, row in rows.items()}
