"""Long texts in windows: parts that fit a model, which overlap so that no words are torn apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch

from ftlight.data import tokens
from ftlight.data.tables import Columns

LongText = Literal["window", "cut"]
# Rows of train that may be cut if nothing is asked for: a share, and a number.
FEW, FEW_ROWS = 0.01, 3
MANY = {
    "window": f"more than {FEW:.0%} of train are such",
    "cut": f"no more than {FEW:.0%} of train (or {FEW_ROWS} rows) are such",
}
SLOW = "the tokenizer has no tokenizer.json, which windows need"


def are_many(uncut: Sequence[int], longest: int) -> bool:
    """Whether so many texts have more than ``longest`` tokens that they are not to be cut.

    >>> are_many([9] * 4 + [1] * 96, 8), are_many([9] * 3, 8)
    (True, False)
    """
    long = int(np.count_nonzero(np.asarray(uncut) > longest))
    return long > max(FEW_ROWS, FEW * len(uncut))


def shorten(tokenizer: Any, texts: Sequence[str], most: int) -> tuple[list[str], list[bool]]:
    """Cuts texts to at most ``most`` tokens; returns them, and which were cut."""
    out = tokenizer(
        list(texts),
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    short, cut = [], []
    for text, offsets in zip(texts, out["offset_mapping"], strict=True):
        cut.append(len(offsets) > most)
        short.append(text[: offsets[most - 1][1]] if cut[-1] else text)
    return short, cut


def apart(values: Sequence[Any], sizes: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Values of rows, each concatenated over its windows, as those of all windows in order.

    >>> [window.tolist() for window in apart([[1, 2, 3], [4]], [[2, 1], [1]])]
    [[1, 2], [3], [4]]
    """
    windows: list[np.ndarray] = []
    for row, of_row in zip(values, sizes, strict=True):
        windows += np.split(np.asarray(row), np.cumsum(of_row)[:-1])
    return windows


def _room(tokenizer: Any, longest: int, pairs: bool) -> int:
    """Tokens that a divided text has in a window at least: half of it beside a second one."""
    room: int = longest - tokenizer.num_special_tokens_to_add(pair=pairs)
    return room // 2 if pairs else room


def overlap(tokenizer: Any, longest: int, pairs: bool) -> int:
    """Tokens that two neighbouring windows share: a quarter of ``longest``, if there is room."""
    return min(longest // 4, _room(tokenizer, longest, pairs) - 1)


def tokenize(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, longest: int
) -> Columns:
    """Tokenizes texts or pairs of texts, those longer than ``longest`` in several windows.

    Two neighbouring windows share a quarter of their tokens. Of a pair the longer text is divided,
    and each window has the other, cut to half a window.

    Args:
        tokenizer: A fast tokenizer.
        texts: The texts.
        pairs: The second text of each, or None.
        longest: The most tokens of a window.

    Returns:
        Columns as of :func:`ftlight.data.tokens.tokenize`; ids and types of a row are concatenated
        over its windows, of which ``sizes`` gives the tokens. ``length`` is what a row takes in a
        batch, ``shortened`` whether the shorter text of a pair was cut.

    Raises:
        UserError: The tokenizer does not tell where its tokens are.
    """
    tokens.check_places(tokenizer)
    columns: Columns = tokens.tokenize(tokenizer, texts, pairs, longest)
    columns["sizes"] = [[length] for length in columns["length"]]
    columns["shortened"] = [False] * len(texts)
    over = [i for i, uncut in enumerate(columns["uncut"]) if uncut > longest]
    long = [texts[i] for i in over]
    if pairs is None:
        _divide(tokenizer, columns, over, (long,), longest)
    else:
        _divide_pairs(tokenizer, columns, over, long, [pairs[i] for i in over], longest)
    return columns


def _divide_pairs(
    tokenizer: Any,
    columns: Columns,
    over: Sequence[int],
    firsts: Sequence[str],
    seconds: Sequence[str],
    longest: int,
) -> None:
    """Puts the windows of long pairs into columns: those of the longer text, with the other."""
    half = _room(tokenizer, longest, pairs=True)
    if half < 1 or not over:
        return  # no window has room for both
    options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
    sizes = [
        [len(ids) for ids in tokenizer(list(side), **options)["input_ids"]]
        for side in (firsts, seconds)
    ]
    is_first = np.array(sizes[0]) > np.array(sizes[1])
    for divides_first in (True, False):
        chosen = np.flatnonzero(is_first == divides_first).tolist()
        if not chosen:
            continue
        rows = [over[i] for i in chosen]
        first, second = ([side[i] for i in chosen] for side in (firsts, seconds))
        if divides_first:
            second, cut = shorten(tokenizer, second, half)
        else:
            first, cut = shorten(tokenizer, first, half)
        for row, was_cut in zip(rows, cut, strict=True):
            columns["shortened"][row] = was_cut
        _divide(tokenizer, columns, rows, (first, second), longest, not divides_first)


def _divide(
    tokenizer: Any,
    columns: Columns,
    rows: Sequence[int],
    texts: tuple[Sequence[str], ...],
    longest: int,
    second: bool = False,
) -> None:
    """Puts the windows of some rows into columns.

    Args:
        tokenizer: A fast tokenizer.
        columns: Columns of all rows.
        rows: Numbers of the rows.
        texts: Their texts, or both texts of each.
        longest: The most tokens of a window.
        second: Whether the second text is divided.
    """
    if not rows:
        return
    out = tokenizer(
        *texts,
        truncation="only_second" if second else "only_first",
        max_length=longest,
        stride=overlap(tokenizer, longest, pairs=len(texts) > 1),
        return_overflowing_tokens=True,
        return_attention_mask=False,
        return_token_type_ids="token_type_ids" in columns,
    )
    windows: list[list[int]] = [[] for _ in rows]
    for number, place in enumerate(out["overflow_to_sample_mapping"]):
        windows[place].append(number)
    if tokenizer.truncation_side != "right":  # such a tokenizer returns the last window first
        windows = [numbers[::-1] for numbers in windows]
    for row, numbers in zip(rows, windows, strict=True):
        sizes = [len(out["input_ids"][number]) for number in numbers]
        columns["sizes"][row] = sizes
        columns["length"][row] = len(sizes) * max(sizes)
        for name in columns.keys() & {"input_ids", "token_type_ids"}:
            columns[name][row] = [token for number in numbers for token in out[name][number]]


def collate(columns: Columns, tokenizer: Any) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Inputs of all windows of some rows, and how many windows each row has.

    Args:
        columns: As of :func:`tokenize`.
        tokenizer: Pads.

    Returns:
        Inputs of a model, ``int64 [windows, tokens]`` each; windows of each row.
    """
    names = columns.keys() & {"input_ids", "token_type_ids"}
    flat: Columns = {name: apart(columns[name], columns["sizes"]) for name in names}
    return tokens.collate(flat, tokenizer), [len(sizes) for sizes in columns["sizes"]]


def notes(
    split: str, counts: Sequence[int], shortened: int, longest: int, why: str
) -> Iterator[str]:
    """Notes of how many rows of a split are read in windows; none if none is.

    Args:
        split: name of the split.
        counts: windows of each row.
        shortened: rows of which the shorter text of a pair was cut.
        longest: the most tokens of a window.
        why: why they are not cut, after a semicolon; may be empty.
    """
    several = np.count_nonzero(np.asarray(counts) > 1)
    if several:
        yield (
            f"{split}: {several:,} of {len(counts):,} rows are longer than {longest} tokens, read"
            f" whole in up to {max(counts)} windows{why}"
        )
    if shortened:
        yield (
            f"{split}: of {shortened:,} rows the shorter text has more than half of a window of"
            f" {longest} tokens and is cut"
        )
