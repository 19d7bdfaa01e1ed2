"""The beginnings of very long texts that are cut anyway: the rest need not be tokenized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LONG = 50_000  # characters up to which a text is tokenized whole
PER_TOKEN = 16  # characters of a beginning for each token that is wanted of it, at first
SPARE = 8  # words that must follow the last one that is wanted
FAR = 4096  # tokens that must, of byte pairs without words
GROWTH = 4


def heads(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, longest: int
) -> tuple[list[str], list[str] | None]:
    """Very long texts, or those of pairs, cut to a beginning that gives the same tokens.

    Texts are cut to so many tokens at their ends. Of a pair the longer one is cut first, so the
    beginning of one must still have more tokens than the other; both stay whole if both are long.

    Args:
        tokenizer: the tokenizer.
        texts: the texts.
        pairs: the second text of each, or None.
        longest: tokens after cutting.
    """
    first, second = list(texts), None if pairs is None else list(pairs)
    # a function is no tokenizer that can be asked
    if not getattr(tokenizer, "is_fast", False) or tokenizer.truncation_side != "right":
        return first, second
    for i, text in enumerate(first):
        if second is None:
            first[i] = head(tokenizer, text, longest)
            continue
        if len(text) > LONG >= len(second[i]):
            first[i] = head(tokenizer, text, max(longest, _count(tokenizer, second[i])))
        elif len(second[i]) > LONG >= len(text):
            second[i] = head(tokenizer, second[i], max(longest, _count(tokenizer, text)))
    return first, second


def head(tokenizer: Any, text: str, wanted: int) -> str:
    """A beginning of a text whose first tokens are those of the text, and more than are wanted.

    A tokenizer divides a text into words, whatever these are, and each of them by itself. So
    tokens of a beginning are those of the text but for its last words, which the cut or the rules
    that divide words may have changed. Byte pairs of a text that is not divided (or is one word)
    change near its end alone. Anything else is tokenized whole.
    """
    size = max(LONG, PER_TOKEN * wanted)
    while size < len(text):
        part = text[:size]
        if _settles(tokenizer, part, wanted):
            return part
        size *= GROWTH
    return text


def _settles(tokenizer: Any, part: str, wanted: int) -> bool:
    """Whether what follows a beginning changes none of its first tokens, and these are enough."""
    words = _encoded(tokenizer, part).word_ids()
    if len(words) <= wanted + 1 or words[wanted] is None or words[-1] is None:
        return False
    if words[-1] - words[wanted] >= SPARE:
        return True
    is_pairs = type(tokenizer.backend_tokenizer.model).__name__ == "BPE"
    return is_pairs and len(words) - wanted >= FAR


def _count(tokenizer: Any, text: str) -> int:
    return len(_encoded(tokenizer, text)["input_ids"])


def _encoded(tokenizer: Any, text: str) -> Any:
    options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
    return tokenizer(text, truncation=False, padding=False, **options)


def counts(
    tokens: Sequence[int], begun: Sequence[Sequence[str]], whole: Sequence[Sequence[str]]
) -> list[int]:
    """About how many tokens the texts of each row have, by those of their beginnings.

    Args:
        tokens: of the beginnings.
        begun: beginnings of the first texts of all rows; of the second ones, too, if there are.
        whole: the same of the texts.

    >>> counts([10, 10], [["ab", "ab"]], [["abcdef", "ab"]])
    [30, 10]
    """
    sizes = ([sum(map(len, row)) for row in zip(*some, strict=True)] for some in (begun, whole))
    return [
        count * long // short if short < long else count
        for count, short, long in zip(tokens, *sizes, strict=True)
    ]
