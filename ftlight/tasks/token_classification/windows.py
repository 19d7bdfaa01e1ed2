"""Long rows of words in windows that overlap, so that nothing is cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ftlight.data import tokens

Range = tuple[int, int]


def spaced(tokenizer: Any) -> bool:
    """Whether a word inside a text has its space within its first piece, as byte-level vocabularies have it."""

    def pieces(given: Any, split: bool) -> list[int]:
        return tokenizer(given, is_split_into_words=split, add_special_tokens=False)["input_ids"]

    natural = pieces("a a", False)
    return pieces(["a", "a"], True) != natural and pieces(["a", " a"], True) == natural


def cut(
    tokenizer: Any,
    texts: Sequence[str],
    words: Sequence[Sequence[Range]],
    longest: int,
    stride: int,
) -> dict[str, list[Any]]:
    """Tokenizes the words of each text, in windows where they are too many.

    Args:
        tokenizer: a fast tokenizer.
        texts: the texts.
        words: characters of each word, by text.
        longest: the most tokens of a window.
        stride: tokens that two windows share.

    Returns:
        ``input_ids`` (a list of windows per row), for each word the ``window`` where its first piece has most context and its
        ``place`` there (-1 for a word that has no piece), and ``length``: tokens of all windows of the row.

    Raises:
        UserError: the tokenizer does not tell which piece belongs to which word.
    """
    tokens.check_places(tokenizer)
    space = spaced(tokenizer)
    given = [
        [_with_space(text, *word) if space else text[slice(*word)] for word in row]
        for text, row in zip(texts, words, strict=True)
    ]
    kwargs = {
        "truncation": True,
        "max_length": longest,
        "stride": stride,
        "return_overflowing_tokens": True,
    }
    out = tokenizer(
        given,
        is_split_into_words=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        **kwargs,
    )
    columns: dict[str, list[Any]] = {
        "input_ids": [[] for _ in texts],
        "window": [[0] * len(r) for r in words],
        "place": [[-1] * len(r) for r in words],
    }
    best = [[-1] * len(r) for r in words]
    found = list(enumerate(out["overflow_to_sample_mapping"]))
    for number, row in (
        found if tokenizer.truncation_side == "right" else reversed(found)
    ):  # in the order of the text
        window = len(columns["input_ids"][row])
        columns["input_ids"][row].append(out["input_ids"][number])
        for word, place, context in first_pieces(out.word_ids(number)):
            if context > best[row][word]:
                best[row][word], columns["window"][row][word], columns["place"][row][word] = (
                    context,
                    window,
                    place,
                )
    return {**columns, "length": [sum(map(len, row)) for row in columns["input_ids"]]}


def first_pieces(pieces: Sequence[int | None]) -> Iterator[tuple[int, int, int]]:
    """Words of a window with the place of their first piece there and the pieces on its shorter side.

    >>> list(first_pieces([None, 0, 0, 1, 2, None]))
    [(0, 1, 0), (1, 3, 1), (2, 4, 0)]
    """
    inside = [place for place, word in enumerate(pieces) if word is not None]
    before = None
    for place in inside:
        word = pieces[place]
        if word is not None and word != before:
            yield word, place, min(place - inside[0], inside[-1] - place)
        before = word


def _with_space(text: str, start: int, end: int) -> str:
    """A word with the white space before it, if any, as one space.

    >>> _with_space("in Rome", 3, 7), _with_space("in Rome", 0, 2)
    (' Rome', 'in')
    """
    return f" {text[start:end]}" if start and text[start - 1].isspace() else text[start:end]
