"""Cheap models on vectors of a frozen backbone: a solved head, a neighbour, names of labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ftlight.freezing.linear import Head, Vectors
from ftlight.freezing.solve import solve
from ftlight.models.losses import Kind, Loss

BLOCK = 1024  # rows whose products with all others are held at once


def probe(
    train: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor] | None,
    states: Tensor,
    kind: Kind,
    labels: int,
    seed: int = 0,
) -> tuple[Tensor, int]:
    """Answers by the best linear head, whose penalty the rows held out choose, else folds of train.

    Args:
        train: vectors ``[rows, width]`` and targets.
        held_out: the same of rows held out.
        states: vectors to answer.
        kind: kind of label.
        labels: number of labels.
        seed: decides on the folds.

    Returns:
        Probabilities ``[rows, labels]``, of numbers values ``[rows]``; and how many numbers it
        learned.
    """
    outputs = 1 if kind == "regression" else labels
    start = Head(torch.zeros(outputs, states.shape[1]), torch.zeros(outputs))
    mean, sd = 0.0, 1.0
    if kind == "regression":
        mean, sd = float(train[1].mean()), float(train[1].std(correction=0)) or 1.0

    def vectors(part: tuple[Tensor, Tensor]) -> Vectors:
        targets = part[1] if kind != "regression" else ((part[1] - mean) / sd).float()
        return Vectors(torch.arange(len(part[0])), part[0], targets)

    other = None if held_out is None else vectors(held_out)
    head = solve(vectors(train), Loss(kind), start, other, seed=seed).head
    logits = torch.nn.functional.linear(states, head.weight, head.bias).double()
    learned = outputs * (states.shape[1] + 1)
    if kind == "regression":
        return logits.flatten() * sd + mean, learned
    return (logits.softmax(1) if kind == "single" else logits.sigmoid()), learned


def neighbour(train: tuple[Tensor, Tensor], states: Tensor, kind: Kind, labels: int) -> Tensor:
    """Answers by the nearest row of train by cosine; arguments and result as of :func:`probe`."""
    found = train[1][nearest(states, train[0])]
    return torch.nn.functional.one_hot(found, labels).double() if kind == "single" else found


def nearest(states: Tensor, others: Tensor) -> Tensor:
    """Number of the nearest of others by cosine of each vector, ``int64 [rows]``."""
    units = normalize(others).T
    blocks = (states[begin : begin + BLOCK] for begin in range(0, len(states), BLOCK))
    return torch.cat([(normalize(block) @ units).argmax(1) for block in blocks])


def by_names(states: Tensor, directions: Tensor) -> Tensor:
    """Answers by the cosine to the direction of each label's name, ``[rows, labels]``.

    Args:
        states: vectors to answer ``[rows, width]``.
        directions: of length 1, ``[labels, width]``.
    """
    return (normalize(states) @ directions.T).double().softmax(1)
