"""Texts in windows, and which of their tokens are masked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ftlight.data import files, tokens
from ftlight.data.sources import open_rows
from ftlight.models.loading import load_tokenizer
from ftlight.utils.errors import UserError

SUFFIXES = (".txt", *files.SUFFIXES)


def read_documents(
    name: str, split: str, column: str, unit: files.Unit, encoding: str
) -> Iterator[tuple[int, str]]:
    """Documents of a text file, of a column of a table or of a hub data set, with their lines; empty ones too."""
    if (
        not name.startswith("hf:")
        and files.suffix(path := files.check(name, f"data.{split}" if split else "", SUFFIXES))
        == ".txt"
    ):
        yield from files.documents(files.text_lines(path, encoding), unit)
        return
    for row in open_rows(name, split, [column], encoding):
        yield row[files.LINE], files.as_text(row[column], name, row[files.LINE], column)


def read_rows(
    name: str,
    split: str,
    column: str,
    unit: files.Unit,
    encoding: str,
    tokenizer: str,
    room: int,
    code: str,
    digest: str,
) -> Iterator[files.Row]:
    """Windows of the documents of a split, none longer than ``room`` tokens, together all of them.

    Yields:
        ``text`` of the window, its tokens ``__ids`` and the word of each ``__words`` (without special tokens), the number of its
        ``document`` in the file, and the ``line``.

    Raises:
        UserError: there is no text.
    """
    number, row = -1, None
    for lot in _lots(read_documents(name, split, column, unit, encoding)):
        made = cut(load_tokenizer(tokenizer), [text for _, text in lot], room)
        for (line, _), windows in zip(lot, made, strict=True):
            number += 1
            for row in windows:
                yield {**row, "document": number, "line": line}
    if row is None:
        raise UserError(f"{name} holds no text")


def _lots(documents: Iterator[tuple[int, str]], size: int = 500) -> Iterator[list[tuple[int, str]]]:
    lot: list[tuple[int, str]] = []
    for document in documents:
        lot.append(document)
        if len(lot) == size:
            yield lot
            lot = []
    if lot:
        yield lot


def cut(tokenizer: Any, texts: Sequence[str], room: int) -> list[list[files.Row]]:
    """Tokenizes texts and cuts long ones into windows of equal length.

    Args:
        tokenizer: a fast tokenizer.
        texts: the texts.
        room: the most tokens of a window, without special ones.

    Returns:
        For each text its windows: ``text``, ``__ids`` and ``__words``; none of a text without tokens.
    """
    tokens.check_places(tokenizer)
    out = tokenizer(
        list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    made = []
    for i, (text, ids, places) in enumerate(
        zip(texts, out["input_ids"], out["offset_mapping"], strict=True)
    ):
        words = [-1 if w is None else w for w in out.word_ids(i)]
        ends = np.linspace(0, len(ids), -(-len(ids) // room) + 1).round().astype(int).tolist()
        parts = [slice(a, b) for a, b in itertools.pairwise(ends)]
        made.append(
            [
                {
                    "text": text[places[p][0][0] : places[p][-1][1]],
                    "__ids": ids[p],
                    "__words": words[p],
                }
                for p in parts
            ]
        )
    return made


def choose(
    free: np.ndarray, words: np.ndarray | None, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Chooses a share of the tokens of a window, at least one; whole words where they are given.

    Args:
        free: which tokens may be chosen ``bool [tokens]``.
        words: word of each token ``[tokens]``, or None to choose single tokens.
        share: share of the free tokens.
        rng: source of randomness.

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
        rng: source of randomness.

    Returns:
        ``[tokens]``.
    """
    draw = rng.random(len(ids))
    random = others[rng.integers(len(others), size=len(ids))]
    out = np.where(chosen & (draw < 0.8), mask, ids)
    return np.where(chosen & (draw >= 0.8) & (draw < 0.9), random, out)
