"""Question and context as windows of tokens, and answers as tokens of these and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ftlight.data import tokens

LOWEST = -1e6  # log-probability of what cannot be


def shorten(tokenizer: Any, texts: Sequence[str], most: int) -> tuple[list[str], list[bool]]:
    """Texts of at most ``most`` tokens, and which of them were cut."""
    out = tokenizer(
        list(texts),
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    cut = [len(offsets) > most for offsets in out["offset_mapping"]]
    return [
        t[: o[most - 1][1]] if c else t
        for t, o, c in zip(texts, out["offset_mapping"], cut, strict=True)
    ], cut


def windows(
    tokenizer: Any, questions: Sequence[str], contexts: Sequence[str], longest: int, overlap: int
) -> dict[str, list[Any]]:
    """Question and context as token windows that cover the whole context.

    A question longer than half a window is cut.

    Args:
        tokenizer: a fast tokenizer.
        questions: a question for each row.
        contexts: the context of each row.
        longest: tokens of a window, special tokens and question included.
        overlap: tokens of the context that two windows in a row share.

    Returns:
        For each row: ``sizes``, tokens of each window, and end to end over its windows ``ids``, ``types`` (where the model has
        them), ``begin`` and ``end``: the characters of the context that a token stands for, -1 outside the context. ``length``
        is what the row takes in a batch, ``cut`` whether the question was cut.
    """
    types = "token_type_ids" in tokenizer.model_input_names
    asked, cut = shorten(tokenizer, questions, longest // 2)
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
        inside = np.array([s == 1 for s in out.sequence_ids(i)])
        places = np.where(
            inside[:, None], np.array(out["offset_mapping"][i], dtype=np.int32).reshape(-1, 2), -1
        )
        kind = (np.array(out["token_type_ids"][i], dtype=np.int32),) if types else ()
        parts[row].append(
            (np.array(out["input_ids"][i], dtype=np.int32), places[:, 0], places[:, 1], *kind)
        )
    names = ("ids", "begin", "end", *(("types",) if types else ()))
    columns: dict[str, list[Any]] = {
        n: [np.concatenate([w[k] for w in row]) for row in parts] for k, n in enumerate(names)
    }
    sizes = [np.array([len(w[0]) for w in row], dtype=np.int32) for row in parts]
    return {**columns, "sizes": sizes, "length": [len(s) * int(s.max()) for s in sizes], "cut": cut}


def target(
    begin: np.ndarray, end: np.ndarray, sizes: np.ndarray, start: int, stop: int
) -> list[tuple[int, int]]:
    """First and last token of an answer in each window of a row; (-1, -1) where it is not wholly inside.

    Args:
        begin: as of :func:`windows`.
        end: as of :func:`windows`.
        sizes: as of :func:`windows`.
        start: first character of the answer in the context.
        stop: the character after its last.

    >>> target(np.array([-1, 0, 3, -1, 3, 6]), np.array([-1, 2, 5, -1, 5, 9]), np.array([3, 3]), 3, 9)
    [(-1, -1), (1, 2)]
    """
    found = []
    for left, right in zip(
        *(np.split(a, np.cumsum(sizes)[:-1]) for a in (begin, end)), strict=True
    ):
        inside = np.flatnonzero(left >= 0)
        if not len(inside) or left[inside[0]] > start or right[inside[-1]] < stop:
            found.append((-1, -1))
            continue
        first, last = inside[right[inside] > start][0], inside[left[inside] < stop][-1]
        found.append((int(first), int(last)) if first <= last else (-1, -1))
    return found


def text_of(context: str, begin: int, end: int) -> tuple[str, int, int]:
    """The text between two characters without white space around it, and where it then begins and ends.

    >>> text_of("in Rome", 2, 7)
    ('Rome', 3, 7)
    """
    text = context[begin:end]
    begin += len(text) - len(text.lstrip())
    return text.strip(), begin, begin + len(text.strip())


def collate(columns: Mapping[str, list[Any]], tokenizer: Any) -> dict[str, Any]:
    """A batch of all windows of some rows.

    Args:
        columns: as of :func:`windows`; also ``first`` and ``last`` as of :func:`target`, where answers are known.
        tokenizer: pads.

    Returns:
        ``inputs`` of the model and, ``int64 [windows, tokens]`` each, ``begin`` and ``end``; and ``int64 [windows]``: ``owner``
        (place of the row in the batch), ``null`` (the token that stands for no answer: the class token, the first where there
        is none), ``first`` and ``last``, which are ``null`` where the window does not hold the answer.
    """
    cuts = [np.cumsum(sizes)[:-1] for sizes in columns["sizes"]]
    parts = {k: [part for row, cut in zip(columns[k], cuts, strict=True) for part in np.split(np.asarray(row), cut)]
             for k in ("ids", "begin", "end", "types") if k in columns}  # fmt: skip
    ids, left, class_token = parts["ids"], tokenizer.padding_side == "left", tokenizer.cls_token_id
    types = {"token_type_ids": parts["types"]} if "types" in parts else {}
    inputs = tokens.collate({"input_ids": ids, **types}, tokenizer)
    shift = np.array([inputs["input_ids"].shape[1] - len(part) if left else 0 for part in ids])
    null = np.array(
        [int((part == class_token).argmax()) if class_token is not None else 0 for part in ids]
    )
    batch: dict[str, Any] = {"inputs": inputs, "null": torch.from_numpy(null + shift)}
    batch["owner"] = torch.from_numpy(
        np.repeat(np.arange(len(cuts)), [len(sizes) for sizes in columns["sizes"]])
    )
    for key in ("begin", "end"):
        batch[key] = tokens.pad([part.tolist() for part in parts[key]], -1, left)
    for key in ("first", "last"):
        if key in columns:
            inside = np.concatenate([np.asarray(row) for row in columns[key]])
            batch[key] = torch.from_numpy(np.where(inside < 0, null, inside) + shift)
    return batch


def best_spans(start: Tensor, end: Tensor, batch: Mapping[str, Tensor], most: int) -> Tensor:
    """The most likely span of each row over all its windows, among all spans of up to ``most`` tokens.

    Args:
        start: log-probability of each token to be the first ``[windows, tokens]``.
        end: log-probability of each token to be the last ``[windows, tokens]``.
        batch: as of :func:`collate`.
        most: the most tokens of a span.

    Returns:
        ``[rows, 4]``: first character and the one after the last, log-probability of the span in its window, and that of no
        answer in the window that speaks least for it.
    """
    (windows, length), rows = start.shape, int(batch["owner"].max()) + 1
    most, each = min(most, length), torch.arange(windows, device=start.device)
    null = (start + end).gather(1, batch["null"][:, None])[:, 0]
    start, end = (x.masked_fill(batch["begin"] < 0, LOWEST) for x in (start, end))
    ends = F.pad(end, (0, most - 1), value=LOWEST).unfold(
        1, most, 1
    )  # [windows, tokens, most]: of the spans that begin there
    best, place = (start[:, :, None] + ends).flatten(1).max(1)
    first = place // most
    last = (first + place % most).clamp(max=length - 1)
    of_row = start.new_full((rows, windows), -torch.inf)
    of_row[batch["owner"], each] = best
    score, window = of_row.max(1)
    none = start.new_full((rows, windows), torch.inf)
    none[batch["owner"], each] = null
    begin, stop = batch["begin"][window, first[window]], batch["end"][window, last[window]]
    return torch.stack([begin.float(), stop.float(), score, none.amin(1)], 1)
