"""What a decoder does with tokens: how likely it finds them, what it writes after them, what it can see, and how it attends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftlight.caching import evaluating
from ftlight.data import tokens
from ftlight.data.chats import UNLEARNED

PLAIN = "ftlight_plain"
LONGEST = 1024  # tokens of a row, above which the scores of all pairs take more memory than they save time


def likelihood(model: nn.Module, inputs: dict[str, Tensor], labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How well a model predicts the labelled tokens; logits are made for these alone.

    Args:
        model: a decoder with a head.
        inputs: its inputs, ``int64 [rows, tokens]``.
        labels: tokens to predict at their own places, -100 elsewhere, ``[rows, tokens]``.

    Returns:
        Of each labelled token, row by row, ``[labelled]``: negative log likelihood, whether it is the likeliest, its row.
    """
    wanted = labels[:, 1:] != UNLEARNED
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
    logits = (logits.flatten(0, 1)[chosen] if logits.shape[:2] == labels.shape else logits[0]).float()
    gold = labels[:, 1:][wanted]
    nll = F.cross_entropy(logits, gold, reduction="none")
    return nll, (logits.detach().argmax(-1) == gold).float(), wanted.nonzero()[:, 0]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **about: Any,
) -> tuple[Tensor, None]:
    """Attention as three plain steps (product, softmax, product) for short rows in bfloat16 on the CPU; torch's own elsewhere.

    There torch's kernel, made for long rows, takes two to four times as long, most of it in backward.

    Args:
        module: the attention layer.
        query: ``[rows, heads, tokens, width]``.
        key: the same, of as many heads or of a divisor of them.
        value: the same as key.
        attention_mask: bool, true where a token sees another, or what is added to scores, ``[rows, 1, tokens, tokens]``; None: causal.
        dropout: share of the weights that is dropped.
        scaling: factor on scores; by default one over the root of the width.
        about: what else transformers gives an attention.

    Returns:
        What is attended to, ``[rows, tokens, heads, width]``, and no weights.
    """
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    (rows, heads, count, width), short = query.shape, 1 < key.shape[2] == query.shape[2] <= LONGEST
    extra = {k for k in ("softcap", "position_bias", "cache") if about.get(k) is not None}
    causal = about.get("is_causal") if about.get("is_causal") is not None else getattr(module, "is_causal", True)
    if query.device.type != "cpu" or dtype != torch.bfloat16 or not short or extra or not (causal or attention_mask is not None):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **about)
    if attention_mask is None:
        attention_mask = torch.ones(count, count, dtype=torch.bool).tril()
    if attention_mask.dtype == torch.bool:
        attention_mask = torch.zeros(attention_mask.shape, dtype=dtype).masked_fill_(~attention_mask, torch.finfo(dtype).min)
    groups = heads // key.shape[1]
    query = (query * (width**-0.5 if scaling is None else scaling)).to(dtype).flatten(0, 1)
    key, value = (repeat_kv(x.to(dtype), groups).flatten(0, 1) for x in (key, value))
    scores = torch.bmm(query, key.transpose(1, 2)).view(rows, heads, count, count)
    weights = F.dropout(scores.add_(attention_mask.to(dtype)).softmax(-1), dropout)
    return torch.bmm(weights.flatten(0, 1), value).view(rows, heads, count, -1).transpose(1, 2), None


def attend_plainly(model: Any) -> None:
    """Lets a model that has torch's attention take :func:`attend`, by transformers' own interface for it."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if getattr(model.config, "_attn_implementation", None) != "sdpa":
        return
    AttentionInterface.register(PLAIN, attend)
    AttentionMaskInterface.register(PLAIN, sdpa_mask)
    model.set_attn_implementation(PLAIN)


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
    return bool((whole[:, :5] - first).abs().max() < near), bool((packed - torch.cat([first, second], 1)).abs().max() < near)


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
    return [upto_end(row, ends) for row in out[:, given.shape[1] :].tolist()]


def upto_end(ids: list[int], ends: set[int]) -> list[int]:
    """Tokens up to the first that ends a reply, and with it.

    >>> upto_end([5, 6, 2, 0, 0], {2})
    [5, 6, 2]
    """
    return ids[: next((i + 1 for i, t in enumerate(ids) if t in ends), len(ids))]
