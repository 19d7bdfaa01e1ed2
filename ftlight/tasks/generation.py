"""What a decoder does with tokens: how likely it finds them, what it writes after them, and what it can see."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftlight.data import tokens
from ftlight.models.modes import evaluating


def likelihood(
    model: nn.Module, inputs: dict[str, Tensor], labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """How well a model predicts the labelled tokens; logits are made for these alone.

    Args:
        model: a decoder with a head.
        inputs: its inputs, ``int64 [rows, tokens]``.
        labels: tokens to predict at their own places, -100 elsewhere, ``[rows, tokens]``.

    Returns:
        Of each labelled token, row by row, ``[labelled]``: negative log likelihood, whether it is the likeliest, its row.
    """
    wanted = labels[:, 1:] != tokens.IGNORE
    chosen = F.pad(wanted, (0, 1)).flatten().nonzero().squeeze(1)  # the places before them

    def only(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (given[0].flatten(0, 1)[chosen].unsqueeze(0), *given[1:])

    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    handle = head.register_forward_pre_hook(only)
    try:
        logits = model(**inputs, use_cache=False).logits
    finally:
        handle.remove()
    # a model that does not call its head as a module has made all of them
    logits = (
        logits.flatten(0, 1)[chosen] if logits.shape[:2] == labels.shape else logits[0]
    ).float()
    gold = labels[:, 1:][wanted]
    nll = F.cross_entropy(logits, gold, reduction="none")
    return nll, (logits.detach().argmax(-1) == gold).float(), wanted.nonzero()[:, 0]


@torch.no_grad()
def probe(model: nn.Module) -> tuple[bool, bool]:
    """Whether a model is blind to what comes after a token, and to the other rows of a packed sequence; both by trying it."""
    body: Any = model
    size, device = body.get_input_embeddings().num_embeddings, body.device
    ids = (torch.arange(12, device=device)[None] * 7 + 3) % size
    rows = ids[:, :5], ids[:, 5:]
    with evaluating(model):
        first, second = (body(input_ids=row, use_cache=False).logits for row in rows)
        whole = body(input_ids=ids, use_cache=False).logits
        try:
            positions = torch.cat([torch.arange(row.shape[1], device=device) for row in rows])[None]
            packed = body(input_ids=ids, position_ids=positions, use_cache=False).logits
        except (TypeError, ValueError, RuntimeError, IndexError):
            packed = whole
    near = 1e-3 * float(whole.abs().max())
    return bool((whole[:, :5] - first).abs().max() < near), bool(
        (packed - torch.cat([first, second], 1)).abs().max() < near
    )


def write(model: Any, prompts: list[list[int]], pad: int, ends: set[int]) -> list[list[int]]:
    """What a model writes after prompts, as its generation_config says; each up to the token that ends it, and with it.

    Args:
        model: a decoder with a head.
        prompts: tokens of each.
        pad: a token to pad with, at the left.
        ends: tokens that end what is written.
    """
    mask = tokens.pad([[1] * len(p) for p in prompts], 0, left=True).to(model.device)
    given = tokens.pad(prompts, pad, left=True).to(model.device)
    out = model.generate(input_ids=given, attention_mask=mask)
    return [truncate_at_eos(row, ends) for row in out[:, given.shape[1] :].tolist()]


def truncate_at_eos(ids: list[int], ends: set[int]) -> list[int]:
    """Tokens up to the first that ends a reply, and with it.

    >>> truncate_at_eos([5, 6, 2, 0, 0], {2})
    [5, 6, 2]
    """
    return ids[: next((i + 1 for i, t in enumerate(ids) if t in ends), len(ids))]
