"""Texts in windows, and which of their tokens are masked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ftlight.data import files, tables, tokens
from ftlight.data.sources import Source
from ftlight.models.loading import load_tokenizer
from ftlight.tasks.masked_lm.readers import read_documents
from ftlight.utils.errors import UserError

BATCH = 500  # documents that are tokenized together


def read_rows(
    source: Source,
    column: str,
    unit: files.Unit,
    tokenizer: str,
    room: int,
    code: str,
    digest: str,
) -> Iterator[files.Row]:
    """Yields the documents of a split in windows of at most ``room`` tokens.

    Yields:
        ``text`` of the window, its tokens ``__ids`` and the word of each ``__words`` (without
        special tokens), the number of its ``document`` in the file, and the ``line``.

    Raises:
        UserError: there is no text.
    """
    number, empty = -1, True
    for batch in tables.chunks(read_documents(source, column, unit), BATCH):
        texts = [text for _, text in batch]
        windows_of = cut(load_tokenizer(tokenizer), texts, room)
        for (line, _), windows in zip(batch, windows_of, strict=True):
            number += 1
            for window in windows:
                empty = False
                yield {**window, "document": number, "line": line}
    if empty:
        raise UserError(f"{source.name} holds no text")


def cut(tokenizer: Any, texts: Sequence[str], room: int) -> list[list[files.Row]]:
    """Tokenizes texts and cuts long ones into windows of equal length.

    Args:
        tokenizer: a fast tokenizer.
        texts: the texts.
        room: the most tokens of a window, without special ones.

    Returns:
        For each text its windows: ``text``, ``__ids`` and ``__words``; none if it has no tokens.
    """
    tokens.check_places(tokenizer)
    out = tokenizer(
        list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    windows_of = []
    rows = zip(texts, out["input_ids"], out["offset_mapping"], strict=True)
    for i, (text, ids, places) in enumerate(rows):
        words = [-1 if word is None else word for word in out.word_ids(i)]
        count = -(-len(ids) // room)
        ends = np.linspace(0, len(ids), count + 1).round().astype(int).tolist()
        windows = []
        for start, end in itertools.pairwise(ends):
            windows.append(
                {
                    "text": text[places[start][0] : places[end - 1][1]],
                    "__ids": ids[start:end],
                    "__words": words[start:end],
                }
            )
        windows_of.append(windows)
    return windows_of


def choose(
    free: np.ndarray, words: np.ndarray | None, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Chooses a share of the tokens of a window, at least one; whole words if they are given.

    Args:
        free: which tokens may be chosen ``bool [tokens]``.
        words: word of each token ``[tokens]``, or None to choose single tokens.
        share: share of the free tokens.
        rng: random generator.

    Returns:
        ``bool [tokens]``.
    """
    places = np.flatnonzero(free)
    wanted = max(1, round(len(places) * share)) if len(places) else 0
    chosen = np.zeros(len(free), dtype=bool)
    if words is None:
        chosen[rng.permutation(places)[:wanted]] = True
        return chosen
    for word in rng.permutation(np.unique(words[places])):
        if chosen.sum() >= wanted:
            break
        chosen[places[words[places] == word]] = True
    return chosen


def corrupt(
    ids: np.ndarray, chosen: np.ndarray, mask: int, others: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Replaces chosen tokens: 80 % by the mask, 10 % by any token, 10 % stay (Devlin et al. 2019).

    Args:
        ids: tokens of a window ``[tokens]``.
        chosen: tokens to predict ``bool [tokens]``.
        mask: the mask token.
        others: tokens to draw from.
        rng: random generator.

    Returns:
        ``[tokens]``.
    """
    draw = rng.random(len(ids))
    random = others[rng.integers(len(others), size=len(ids))]
    out = np.where(chosen & (draw < 0.8), mask, ids)
    return np.where(chosen & (draw >= 0.8) & (draw < 0.9), random, out)
