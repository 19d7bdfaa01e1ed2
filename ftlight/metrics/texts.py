"""How near generated texts are to references: BLEU, chrF and ROUGE."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ftlight.utils.errors import UserError

ORDER = 4  # BLEU's longest n-grams, in words
KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
WORD = re.compile(r"[a-z0-9]+")


def require() -> Any:
    """The package sacrebleu, which counts for BLEU and chrF.

    Raises:
        UserError: it is not installed.
    """
    try:
        import sacrebleu.metrics
    except ImportError as error:
        raise UserError("BLEU and chrF need sacrebleu: pip install ftlight[generation]") from error
    return sacrebleu.metrics


# BLEU and chrF


def bleu_parts(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Tensor:
    """What corpus BLEU is made of, row by row: the parts of several rows add up.

    Args:
        predictions: a text for each row.
        references: one or more texts for each row.

    Returns:
        ``float64 [rows, 10]``: matching 1-, 2-, 3- and 4-grams, all of them, words of the prediction, words of the nearest reference.
    """
    scorer = require().BLEU(
        effective_order=True
    )  # counts are the same without it, but each row would warn
    rows = [scorer.sentence_score(p, list(r)) for p, r in zip(predictions, references, strict=True)]
    return torch.tensor(
        [[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in rows], dtype=torch.float64
    ).reshape(-1, 2 * ORDER + 2)


def bleu_of(parts: Tensor) -> float:
    """Corpus BLEU of added parts, with sacrebleu's smoothing.

    Args:
        parts: ``[10]``, a sum of rows of :func:`bleu_parts`.
    """
    counts = [int(v) for v in parts.tolist()]
    correct, total = counts[:ORDER], counts[ORDER : 2 * ORDER]
    return float(
        require()
        .BLEU.compute_bleu(correct, total, counts[-2], counts[-1], smooth_method="exp")
        .score
    )


def bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU (Papineni et al., 2002), that of ``sacrebleu`` with its defaults: 13a words, exponential smoothing.

    Args:
        predictions: a text for each row.
        references: one or more texts for each row; rows may differ in how many.

    Returns:
        0 to 100, as the field states it; nan without rows.
    """
    return bleu_of(bleu_parts(predictions, references).sum(0)) if len(predictions) else float("nan")


def chrf(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus chrF (Popović, 2015), that of ``sacrebleu`` with its defaults: characters, 1- to 6-grams, recall twice as important.

    Args:
        predictions: a text for each row.
        references: one or more texts for each row; the best of them counts.

    Returns:
        0 to 100; nan without rows.
    """
    if not len(predictions):
        return float("nan")
    most = max(len(r) for r in references)
    streams = [[r[i] if i < len(r) else None for r in references] for i in range(most)]
    return float(require().CHRF().corpus_score(list(predictions), streams).score)


# ROUGE


def words(text: str) -> list[str]:
    """Words as ROUGE counts them: runs of a-z and 0-9 in small letters; other scripts have none.

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
    """The table of the longest common subsequence, a row for each word of ``a`` and one before, as bits over ``b``.

    The length for the first i words of ``a`` and j of ``b`` is the number of zeros in the lowest j bits of row i
    (Hyyrö, 2004: one addition of long integers for each word instead of a loop over ``b``).
    """
    full, where = (1 << len(b)) - 1, dict.fromkeys(b, 0)
    for j, word in enumerate(b):
        where[word] |= 1 << j
    table = [full]
    for word in a:
        row, match = table[-1], where.get(word, 0)
        table.append(((row + (row & match)) | (row & ~match)) & full)
    return table


def lcs_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    >>> lcs_length("a b c d".split(), "b x d".split())
    2
    """
    return len(b) - _lcs(a, b)[-1].bit_count()


def _lcs_places(a: Sequence[str], b: Sequence[str]) -> set[int]:
    """Places in ``a`` of one longest common subsequence: that which rouge-score finds."""
    table, i, j, found = _lcs(a, b), len(a), len(b), set()

    def length(i: int, j: int) -> int:
        return j - (table[i] & ((1 << j) - 1)).bit_count()

    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            found.add(i)
        elif length(i, j - 1) > length(i - 1, j):
            j -= 1
        else:
            i -= 1
    return found


def _rouge_l(prediction: str, reference: str) -> float:
    predicted, actual = words(prediction), words(reference)
    return _f1(lcs_length(actual, predicted), len(predicted), len(actual))


def _rouge_lsum(prediction: str, reference: str) -> float:
    predicted = [words(line) for line in prediction.split("\n") if line]
    actual = [words(line) for line in reference.split("\n") if line]
    left = Counter(w for line in predicted for w in line)
    left &= Counter(w for line in actual for w in line)
    hits = 0
    for line in actual:  # a word counts at most as often as both texts have it
        for i in set().union(*(_lcs_places(line, p) for p in predicted)):
            hits += left[line[i]] > 0
            left[line[i]] -= left[line[i]] > 0
    return _f1(hits, sum(map(len, predicted)), sum(map(len, actual)))


def _scorer(kind: str) -> Callable[[str, str], float]:
    if kind == "rougeL":
        return _rouge_l
    if kind == "rougeLsum":
        return _rouge_lsum
    if not re.fullmatch(r"rouge[1-9]", kind):
        raise ValueError(f"{kind} is not a ROUGE; there are rouge1 to rouge9, rougeL and rougeLsum")
    return lambda prediction, reference: _rouge_n(prediction, reference, int(kind[5:]))


def rouge_rows(
    predictions: Sequence[str], references: Sequence[Sequence[str]], kinds: Iterable[str] = KINDS
) -> dict[str, list[float]]:
    """ROUGE F1 of each row (Lin, 2004), that of the package ``rouge-score`` without stemming; of several references the best.

    ``rougeLsum`` takes lines as sentences, as rouge-score does.

    Args:
        predictions: a text for each row.
        references: one or more texts for each row.
        kinds: rouge1 to rouge9 (n-grams), rougeL, rougeLsum (longest common subsequences of texts, of lines).

    Returns:
        kind to values, 0 to 1, one per row.
    """
    pairs = list(zip(predictions, references, strict=True))
    return {
        kind: [max(_scorer(kind)(p, r) for r in several) for p, several in pairs] for kind in kinds
    }


def rouge(
    predictions: Sequence[str], references: Sequence[Sequence[str]], kinds: Iterable[str] = KINDS
) -> dict[str, float]:
    """Mean of :func:`rouge_rows` over the rows.

    Returns:
        kind to value, 0 to 1; nan without rows.
    """
    rows = rouge_rows(predictions, references, kinds)
    return {
        kind: sum(values) / len(values) if values else float("nan") for kind, values in rows.items()
    }
