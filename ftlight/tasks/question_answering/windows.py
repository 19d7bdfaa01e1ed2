"""Windows of question and context tokens, and answers as tokens of a window and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ftlight.data import tokens
from ftlight.data import windows as long_texts

LOWEST = -1e6  # log-probability of the impossible
# What logits may be divided by; a fit is uncertain by more than such a step.
TEMPERATURES = tuple(2 ** (step / 4) for step in range(-12, 13))


def windows(
    tokenizer: Any, questions: Sequence[str], contexts: Sequence[str], longest: int, overlap: int
) -> dict[str, list[Any]]:
    """Tokenizes questions with windows that cover the whole context.

    A question longer than half a window is cut.

    Args:
        tokenizer: A fast tokenizer.
        questions: A question for each row.
        contexts: The context of each row.
        longest: Tokens of a window, including special tokens and the question.
        overlap: Context tokens that two neighbouring windows share.

    Returns:
        For each row ``sizes``, the tokens of each window, and concatenated over its windows
        ``ids``, ``types`` (if the model has token types), ``begin`` and ``end``: the characters of
        the context that a token stands for, -1 outside the context. ``length`` is what the row
        takes in a batch, ``cut`` whether its question was cut.
    """
    types = "token_type_ids" in tokenizer.model_input_names
    asked, cut = long_texts.shorten(tokenizer, questions, longest // 2)
    out = tokenizer(
        asked,
        list(contexts),
        truncation="only_second",
        max_length=longest,
        stride=overlap,
        padding=False,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=types,
    )
    parts: list[list[tuple[np.ndarray, ...]]] = [[] for _ in questions]
    for i, row in enumerate(out["overflow_to_sample_mapping"]):
        in_context = np.array([part == 1 for part in out.sequence_ids(i)])
        offsets = np.array(out["offset_mapping"][i], dtype=np.int32).reshape(-1, 2)
        offsets = np.where(in_context[:, None], offsets, -1)
        window = [np.array(out["input_ids"][i], dtype=np.int32), offsets[:, 0], offsets[:, 1]]
        if types:
            window.append(np.array(out["token_type_ids"][i], dtype=np.int32))
        parts[row].append(tuple(window))
    columns: dict[str, list[Any]] = {}
    for k, name in enumerate(["ids", "begin", "end", *(["types"] if types else [])]):
        columns[name] = [np.concatenate([window[k] for window in row]) for row in parts]
    sizes = [np.array([len(window[0]) for window in row], dtype=np.int32) for row in parts]
    lengths = [len(s) * int(s.max()) for s in sizes]
    return {**columns, "sizes": sizes, "length": lengths, "cut": cut}


def target(
    begin: np.ndarray, end: np.ndarray, sizes: np.ndarray, start: int, stop: int
) -> list[tuple[int, int]]:
    """Returns the first and last token of an answer in each window of a row.

    They are (-1, -1) in a window that does not hold the whole answer.

    Args:
        begin: As of :func:`windows`.
        end: As of :func:`windows`.
        sizes: As of :func:`windows`.
        start: First character of the answer in the context.
        stop: The character after its last.

    >>> begin, end = np.array([-1, 0, 3, -1, 3, 6]), np.array([-1, 2, 5, -1, 5, 9])
    >>> target(begin, end, np.array([3, 3]), 3, 9)
    [(-1, -1), (1, 2)]
    """
    positions = []
    cuts = np.cumsum(sizes)[:-1]
    for left, right in zip(np.split(begin, cuts), np.split(end, cuts), strict=True):
        inside = np.flatnonzero(left >= 0)
        if not len(inside) or left[inside[0]] > start or right[inside[-1]] < stop:
            positions.append((-1, -1))
            continue
        first = inside[right[inside] > start][0]
        last = inside[left[inside] < stop][-1]
        positions.append((int(first), int(last)) if first <= last else (-1, -1))
    return positions


def tokens_of(
    batch: Mapping[str, Tensor], row: int, start: int, stop: int
) -> list[tuple[int, int, int]]:
    """Windows of a batch that hold an answer whole, with its first and last token in each.

    Args:
        batch: As of :func:`collate`.
        row: Place of the row in the batch.
        start: First character of the answer in the context.
        stop: The character after its last.
    """
    windows = (batch["sample_mapping"] == row).nonzero()[:, 0].tolist()
    begin, end = (batch[name][windows].cpu().numpy() for name in ("begin", "end"))
    sizes = np.full(len(windows), begin.shape[1])
    places = target(begin.ravel(), end.ravel(), sizes, start, stop)
    pairs = zip(windows, places, strict=True)
    return [(window, *place) for window, place in pairs if place[0] >= 0]


def text_of(context: str, begin: int, end: int) -> tuple[str, int, int]:
    """Returns the text between two characters, stripped, with its new begin and end.

    >>> text_of("in Rome", 2, 7)
    ('Rome', 3, 7)
    """
    text = context[begin:end]
    begin += len(text) - len(text.lstrip())
    return text.strip(), begin, begin + len(text.strip())


def collate(columns: Mapping[str, list[Any]], tokenizer: Any) -> dict[str, Any]:
    """Makes a batch of all windows of some rows.

    Args:
        columns: As of :func:`windows`; also ``start_positions`` and ``end_positions`` as of
            :func:`target`, if answers are known.
        tokenizer: Pads.

    Returns:
        ``inputs`` of the model; ``begin`` and ``end``, ``int64 [windows, tokens]``; and ``int64
        [windows]``: ``sample_mapping`` (place of the row in the batch), ``cls_index`` (the token
        for no answer: the class token, or the first), ``start_positions`` and ``end_positions``,
        which equal ``cls_index`` if the window does not hold the answer.
    """
    keys = columns.keys() & {"ids", "begin", "end", "types"}
    parts = {key: long_texts.apart(columns[key], columns["sizes"]) for key in keys}
    ids, class_token = parts["ids"], tokenizer.cls_token_id
    left = tokenizer.padding_side == "left"
    types = {"token_type_ids": parts["types"]} if "types" in parts else {}
    inputs = tokens.collate({"input_ids": ids, **types}, tokenizer)
    padded = inputs["input_ids"].shape[1]
    shift = np.array([padded - len(part) if left else 0 for part in ids])
    cls_index = np.zeros(len(ids), dtype=int)
    if class_token is not None:
        cls_index = np.array([int((part == class_token).argmax()) for part in ids])
    batch: dict[str, Any] = {"inputs": inputs, "cls_index": torch.from_numpy(cls_index + shift)}
    counts = [len(sizes) for sizes in columns["sizes"]]
    batch["sample_mapping"] = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
    for key in ("begin", "end"):
        batch[key] = tokens.pad([part.tolist() for part in parts[key]], -1, left)
    for key in ("start_positions", "end_positions"):
        if key in columns:
            inside = np.concatenate([np.asarray(row) for row in columns[key]])
            batch[key] = torch.from_numpy(np.where(inside < 0, cls_index, inside) + shift)
    return batch


def best_spans(start: Tensor, end: Tensor, batch: Mapping[str, Tensor], most: int) -> Tensor:
    """Returns the most likely span of each row over all its windows.

    Args:
        start: Log-probability of each token to be the first, ``[windows, tokens]``.
        end: Log-probability of each token to be the last, ``[windows, tokens]``.
        batch: As of :func:`collate`.
        most: The most tokens of a span.

    Returns:
        ``[rows, 4 + temperatures]``: first character, exclusive last character, log-probability of
        the span in its window, that of no answer in the window where it is least likely; and that
        of the span at each of :data:`TEMPERATURES`, which do not choose it.
    """
    windows, length = start.shape
    possible = start, end
    rows = int(batch["sample_mapping"].max()) + 1
    most = min(most, length)
    each = torch.arange(windows, device=start.device)
    no_answer = (start + end).gather(1, batch["cls_index"][:, None])[:, 0]
    outside = batch["begin"] < 0
    start, end = start.masked_fill(outside, LOWEST), end.masked_fill(outside, LOWEST)
    # [windows, tokens, most]: the ends of the spans that begin at a token
    ends = F.pad(end, (0, most - 1), value=LOWEST).unfold(1, most, 1)
    best, place = (start[:, :, None] + ends).flatten(1).max(1)
    first = place // most
    last = (first + place % most).clamp(max=length - 1)
    of_row = start.new_full((rows, windows), -torch.inf)
    of_row[batch["sample_mapping"], each] = best
    score, window = of_row.max(1)
    none = start.new_full((rows, windows), torch.inf)
    none[batch["sample_mapping"], each] = no_answer
    first, last = first[window], last[window]
    begin, stop = batch["begin"][window, first], batch["end"][window, last]
    chosen = possible[0][window], possible[1][window]
    hot = at_temperatures(chosen[0], first) + at_temperatures(chosen[1], last)
    return torch.cat([torch.stack([begin, stop, score, none.amin(1)], 1), hot], 1)


def at_temperatures(scores: Tensor, position: Tensor) -> Tensor:
    """Log-probability of a token at each of :data:`TEMPERATURES`, ``[windows, temperatures]``.

    Args:
        scores: Logits or log-probabilities of the tokens, ``[windows, tokens]``.
        position: The token of each window, ``int64 [windows]``.
    """
    at = position[:, None]
    each = [(scores / t).log_softmax(1).gather(1, at) for t in TEMPERATURES]
    return torch.cat(each, 1)
