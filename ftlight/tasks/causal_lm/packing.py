"""Batches of samples: padded to the longest, or several in a row."""

from __future__ import annotations

from typing import Any

import torch

from ftlight.data import tokens


def _labels(ids: list[list[int]], masks: list[list[bool]]) -> list[list[int]]:
    labels = []
    for row, mask in zip(ids, masks, strict=True):
        labels.append([t if kept else tokens.IGNORE for t, kept in zip(row, mask, strict=True)])
    return labels


def padded(ids: list[list[int]], masks: list[list[bool]], pad: int) -> dict[str, Any]:
    """Samples padded to the longest, ``[samples, tokens]``; padding has no label."""
    inputs = {
        "input_ids": tokens.pad(ids, pad),
        "attention_mask": tokens.pad([[1] * len(row) for row in ids], 0),
    }
    return {"inputs": inputs, "labels": tokens.pad(_labels(ids, masks), tokens.IGNORE)}


def packed(ids: list[list[int]], masks: list[list[bool]], pad: int) -> dict[str, Any]:
    """Samples end to end in rows as long as the longest, ``[rows, tokens]``: first fit decreasing.

    Positions start anew with each sample, by which models keep them apart. A single long row would
    cost more attention (the square of its length) than it saves padding, unless a kernel avoids it.
    """
    width = max(map(len, ids))
    rows: list[list[int]] = []
    left: list[int] = []
    for i in sorted(range(len(ids)), key=lambda i: -len(ids[i])):
        row = next((r for r, room in enumerate(left) if room >= len(ids[i])), len(rows))
        if row == len(rows):
            rows.append([])
            left.append(width)
        rows[row].append(i)
        left[row] -= len(ids[i])
    labels = _labels(ids, masks)
    positions = []
    for samples, room in zip(rows, left, strict=True):
        lengths = [*(len(ids[i]) for i in samples), room]
        positions.append([position for length in lengths for position in range(length)])
    joined_ids = [[token for i in samples for token in ids[i]] for samples in rows]
    joined_labels = [[label for i in samples for label in labels[i]] for samples in rows]
    inputs = {
        "input_ids": tokens.pad(joined_ids, pad),
        "position_ids": torch.tensor(positions),
    }
    return {"inputs": inputs, "labels": tokens.pad(joined_labels, tokens.IGNORE)}
