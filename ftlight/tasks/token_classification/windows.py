"""Splits long rows of words into overlapping windows, so that no word is lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ftlight.data import tokens
from ftlight.data.tables import Columns

Range = tuple[int, int]


def spaced(tokenizer: Any) -> bool:
    """Whether the space before a word is part of its first piece, as in byte-level vocabularies."""

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
    """Tokenizes the words of each text, in several windows if they are too many for one.

    Args:
        tokenizer: A fast tokenizer.
        texts: The texts.
        words: Characters of each word, by text.
        longest: The most tokens of a window.
        stride: Tokens that two neighbouring windows share.

    Returns:
        ``input_ids``, a list of windows per row; for each word the ``window`` in which its first
        piece has most context and its ``place`` there (-1 for a word without pieces); ``length``,
        the tokens of all windows of a row.

    Raises:
        UserError: The tokenizer does not tell which piece belongs to which word.
    """
    tokens.check_places(tokenizer)
    out = tokenizer(
        _words_of(texts, words, spaced(tokenizer)),
        is_split_into_words=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        truncation=True,
        max_length=longest,
        stride=stride,
        return_overflowing_tokens=True,
    )
    ids: list[list[list[int]]] = [[] for _ in texts]
    window_of = [[0] * len(row) for row in words]
    place_of = [[-1] * len(row) for row in words]
    best_context = [[-1] * len(row) for row in words]
    windows = list(enumerate(out["overflow_to_sample_mapping"]))
    if tokenizer.truncation_side != "right":  # such a tokenizer returns the last window first
        windows.reverse()
    for number, row in windows:
        window = len(ids[row])
        ids[row].append(out["input_ids"][number])
        for word, place, context in first_pieces(out.word_ids(number)):
            if context > best_context[row][word]:
                best_context[row][word] = context
                window_of[row][word] = window
                place_of[row][word] = place
    lengths = [sum(map(len, row)) for row in ids]
    return {"input_ids": ids, "window": window_of, "place": place_of, "length": lengths}


def _words_of(
    texts: Sequence[str], words: Sequence[Sequence[Range]], with_space: bool
) -> list[list[str]]:
    """The words of each text, with the space before each if the tokenizer wants it."""
    rows = []
    for text, ranges in zip(texts, words, strict=True):
        if with_space:
            rows.append([_with_space(text, start, end) for start, end in ranges])
        else:
            rows.append([text[start:end] for start, end in ranges])
    return rows


def first_pieces(pieces: Sequence[int | None]) -> Iterator[tuple[int, int, int]]:
    """Yields the words of a window: word, place of its first piece, pieces on its shorter side.

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
    """Returns a word, with one space in front if white space precedes it.

    >>> _with_space("in Rome", 3, 7), _with_space("in Rome", 0, 2)
    (' Rome', 'in')
    """
    return f" {text[start:end]}" if start and text[start - 1].isspace() else text[start:end]


def collate(columns: Columns, rows: list[int], tokenizer: Any) -> dict[str, Any]:
    """A batch of whole rows.

    Args:
        columns: what :func:`cut` made of them, and each word's ``target`` if known.
        rows: their numbers.
        tokenizer: the tokenizer, for padding.

    Returns:
        ``inputs`` (``int64 [windows, tokens]`` each), ``index``, ``words`` (number of words of
        each row), and of all words ``[words]`` each: ``window``, ``place`` (of its first piece),
        ``has_piece`` (bool) and ``targets`` if known.
    """
    parts = [len(row) for row in columns["input_ids"]]
    flat = [window for row in columns["input_ids"] for window in row]
    inputs = tokens.collate({"input_ids": flat}, tokenizer)
    numbers: list[int] = []
    for row, start in zip(
        columns["window"], itertools.accumulate(parts[:-1], initial=0), strict=True
    ):
        numbers += [start + number for number in row]
    window = torch.tensor(numbers, dtype=torch.long)
    place = _flat(columns["place"])
    has_piece = place >= 0
    if tokenizer.padding_side == "left":
        place += inputs["input_ids"].shape[1] - torch.tensor([len(w) for w in flat])[window]
    words = [len(row) for row in columns["place"]]
    batch = {
        "inputs": inputs,
        "index": rows,
        "words": words,
        "window": window,
        "place": place.clamp(min=0),
        "has_piece": has_piece,
    }
    if "target" in columns:
        batch["targets"] = _flat(columns["target"])
    return batch


def _flat(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Numbers of all rows end to end, ``int64 [words]``."""
    return torch.tensor([number for row in rows for number in row], dtype=torch.long)
