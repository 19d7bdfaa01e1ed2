"""Decoders: likelihood of tokens, generation, and what a decoder can see."""

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
    """Computes how well a model predicts the labelled tokens, with logits for these alone.

    Args:
        model: A decoder with a head.
        inputs: Its inputs, ``int64 [rows, tokens]``.
        labels: Tokens to predict at their own places, -100 elsewhere, ``[rows, tokens]``.

    Returns:
        For each labelled token, row by row, ``[labelled]``: negative log-likelihood, whether it is
        the most likely token, and its row.
    """
    labelled = labels[:, 1:] != tokens.IGNORE
    # The logits at a place predict the next token, so those of the place before are needed.
    places = F.pad(labelled, (0, 1)).flatten().nonzero().squeeze(1)

    def only(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (given[0].flatten(0, 1)[places].unsqueeze(0), *given[1:])

    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    handle = head.register_forward_pre_hook(only)
    try:
        logits = model(**inputs, use_cache=False).logits
    finally:
        handle.remove()
    if logits.shape[:2] == labels.shape:  # this model does not call its head as a module
        logits = logits.flatten(0, 1)[places]
    else:
        logits = logits[0]
    logits = logits.float()
    gold = labels[:, 1:][labelled]
    nll = F.cross_entropy(logits, gold, reduction="none")
    return nll, (logits.detach().argmax(-1) == gold).float(), labelled.nonzero()[:, 0]


@torch.no_grad()
def probe(model: nn.Module) -> tuple[bool, bool]:
    """Tries whether a model is causal, and whether it keeps packed rows apart.

    Returns:
        Whether later tokens leave earlier logits unchanged; whether ``position_ids`` that start
        again separate the rows of a packed sequence.
    """
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
    close = 1e-3 * float(whole.abs().max())
    causal = (whole[:, :5] - first).abs().max() < close
    separate = (packed - torch.cat([first, second], 1)).abs().max() < close
    return bool(causal), bool(separate)


def write(model: Any, prompts: list[list[int]], pad: int, ends: set[int]) -> list[list[int]]:
    """Continues prompts as the model's generation_config says.

    Args:
        model: A decoder with a head.
        prompts: Tokens of each.
        pad: Token to pad with, on the left.
        ends: Tokens that end a reply.

    Returns:
        The new tokens of each prompt, up to and with the first that ends it.
    """
    mask = tokens.pad([[1] * len(p) for p in prompts], 0, left=True).to(model.device)
    given = tokens.pad(prompts, pad, left=True).to(model.device)
    out = model.generate(input_ids=given, attention_mask=mask)
    return [truncate_at_eos(row, ends) for row in out[:, given.shape[1] :].tolist()]


def truncate_at_eos(ids: list[int], ends: set[int]) -> list[int]:
    """Returns the tokens up to and with the first that ends a reply.

    >>> truncate_at_eos([5, 6, 2, 0, 0], {2})
    [5, 6, 2]
    """
    for i, token in enumerate(ids):
        if token in ends:
            return ids[: i + 1]
    return ids
