"""Faster attention on a CPU, and which kernels a transformers model uses."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ftlight.models.dropout import Dropout, drawable, dropout_mask
from ftlight.utils import internals
from ftlight.utils.errors import UserError

NAME = "ftlight"  # of our attention among those of transformers
CHUNK = 1 << 20  # attention scores computed at a time: 2 to 4 MB, which stay in the CPU's cache
# Types in which torch's attention on a CPU is slow: always backwards, and forwards up to so many
# keys. With dropout ours is used in any type.
SLOW = {torch.bfloat16}
SLOW_KEYS = 512


# Attention


class _Attention(torch.autograd.Function):
    """Attention of a few rows at a time, so that their scores stay in the CPU's cache.

    If there are many rows, the backward pass computes the scores again, so that memory is that of
    queries, keys and values, as in FlashAttention (Dao et al. 2022), whose tiles are whole rows
    here.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        visible: Tensor | None,
        causal: bool,
        share: float,
        scale: float,
    ) -> Tensor:
        ctx.share, ctx.scale, ctx.causal = share, scale, causal
        ctx.seed = int(torch.empty((), dtype=torch.int64).random_()) if share else 0
        out = q.new_empty(q.shape[0], q.shape[2], q.shape[1], v.shape[3])
        for rows, weights, mask in _chunks(ctx, q, k, visible):
            dropped = weights if mask is None else weights * mask
            part = scaled_bmm(dropped, _flat(v[rows]), 1 / (1 - share))
            out[rows] = part.view(-1, q.shape[1], *part.shape[1:]).transpose(1, 2)
        single = len(weights) == q.shape[0] * q.shape[1] and weights.numel() <= CHUNK
        ctx.save_for_backward(q, k, v, visible, *((weights, mask) if single else ()))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, visible, *saved = ctx.saved_tensors
        up, scale = 1 / (1 - ctx.share), ctx.scale
        grads = [
            t.new_empty(t.shape[0], t.shape[2], t.shape[1], t.shape[3]).transpose(1, 2)
            for t in (q, k, v)
        ]
        chunks = [(slice(None), *saved)] if saved else _chunks(ctx, q, k, visible)
        for rows, weights, mask in chunks:
            d_out = _flat(grad[rows].transpose(1, 2))
            dropped = weights if mask is None else weights * mask
            dv = scaled_bmm(dropped.transpose(1, 2), d_out, up)
            d_scores = scaled_bmm(d_out, _flat(v[rows]).transpose(1, 2), up)
            if mask is not None:
                d_scores.mul_(mask)
            d_scores = internals.softmax_backward(d_scores, weights, -1, weights.dtype)
            dq = scaled_bmm(d_scores, _flat(k[rows]), scale)
            dk = scaled_bmm(d_scores.transpose(1, 2), _flat(q[rows]), scale)
            for whole, part in zip(grads, (dq, dk, dv), strict=True):
                whole[rows] = part.view(-1, q.shape[1], *part.shape[1:])
        return *grads, None, None, None, None


def _chunks(
    ctx: Any, q: Tensor, k: Tensor, visible: Tensor | None
) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
    """Attention weights of a few rows at a time.

    Yields:
        The rows; their weights ``[rows · heads, queries, keys]``; the dropout mask, if any.
    """
    generator = torch.Generator().manual_seed(ctx.seed) if ctx.share else None
    size = max(1, CHUNK // (q.shape[1] * q.shape[2] * k.shape[2]))
    for start in range(0, len(q), size):
        rows = slice(start, start + size)
        scores = scaled_bmm(_flat(q[rows]), _flat(k[rows]).transpose(1, 2), ctx.scale)
        if visible is not None:
            by_head = scores.view(-1, q.shape[1], *scores.shape[1:])
            _hide(by_head, visible if len(visible) == 1 else visible[rows])
        elif ctx.causal:
            _hide(scores, torch.ones(scores.shape[1:], dtype=torch.bool).tril())
        weights = internals.softmax(scores, -1, False)
        mask = None
        if generator is not None:
            mask = dropout_mask(weights.shape, ctx.share, weights.dtype, generator)
        yield rows, weights, mask


def _hide(scores: Tensor, visible: Tensor) -> None:
    """Applies an attention mask to scores in place; a query that sees no key sees all alike."""
    least = torch.finfo(scores.dtype).min
    if visible.dtype == torch.bool:
        scores.masked_fill_(~visible, least)
    else:
        scores.add_(visible.clamp(min=least / 2).to(scores.dtype))


def _flat(x: Tensor) -> Tensor:
    """``[rows, heads, …]`` as ``[rows · heads, …]``."""
    return x.reshape(-1, *x.shape[2:])


def scaled_bmm(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """``scale · a @ b`` of batches of matrices."""
    return torch.baddbmm(a.new_empty(1, 1, 1), a, b, beta=0, alpha=scale)


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention for transformers' interface: ours on a CPU with dropout or in bfloat16.

    On a CPU torch's stores all scores if there is dropout, and is slow in bfloat16.

    Args:
        module: the attention layer.
        query: ``[rows, heads, queries, width]``.
        key: ``[rows, heads (or fewer), keys, width]``.
        value: as keys.
        attention_mask: true for keys that may be seen, or numbers added to the scores; broadcast
            to ``[rows, heads, queries, keys]``.
        dropout: share of the attention weights to drop.
        scaling: factor on the scores. Default: 1 / √width.
        is_causal: whether a query sees no later keys, if there is no mask.
        kwargs: what the model passes on.

    Returns:
        ``[rows, queries, heads, width]``, and None for the weights.
    """
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    special = any(kwargs.get(n) is not None for n in ("position_bias", "cache", "softcap"))
    plain = not special and _usual(query, key, value, attention_mask)
    # Dropout is ours even if nothing trains: a checkpointed pass must draw what its rerun draws.
    faster = drawable(dropout) or (not dropout and _is_slow(query, key, value))
    if not (plain and faster and query.is_cpu) or torch.compiler.is_compiling():
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs
        )
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    if is_causal is None:
        is_causal = getattr(module, "is_causal", True)
    causal = bool(is_causal) and query.shape[2] > 1
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key = query.to(value.dtype), key.to(value.dtype)
    with torch.autocast("cpu", enabled=False):
        arguments = (query, key, value, attention_mask, causal, dropout, scale)
        return _Attention.apply(*arguments), None  # type: ignore[no-untyped-call]


def _is_slow(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether torch's kernel is slow for these, without dropout."""
    needs_grad = query.requires_grad or key.requires_grad or value.requires_grad
    trains = torch.is_grad_enabled() and needs_grad
    short = 1 < query.shape[2] and key.shape[2] <= SLOW_KEYS
    return value.dtype in SLOW and (trains or short)


def _usual(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
    """Whether this is one attention for each row, and the mask is not learned."""
    rows = len(query)
    if not 0 < rows == len(key) == len(value):
        return False
    return mask is None or (mask.ndim == 4 and len(mask) in (1, rows) and not mask.requires_grad)


# Models


@functools.cache
def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attention_forward)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def _checks_for_sdpa(model: nn.Module) -> bool:
    """Whether a model's own code asks for ``sdpa`` by name, and so would not know ours."""
    source = inspect.getsource(inspect.getmodule(type(model)) or type(model))
    return re.search(r"_attn_implementation\b.*sdpa", source) is not None


def use(model: nn.Module, kernels: str) -> nn.Module:
    """Sets the kernels of a model in place, if its attention goes through transformers' interface.

    Args:
        model: any transformers model.
        kernels: auto for ours; stock for what transformers and torch choose; or the name of an
            attention of transformers (sdpa, eager, flash_attention_2, flex_attention, …).

    Raises:
        UserError: transformers refuses the name.
    """
    if kernels == "stock":
        return model
    _register()
    auto = kernels == "auto"
    parts: list[Any] = [m for m in model.modules() if internals.can_set_attention(m)]
    if not auto and not parts:
        raise UserError(
            f"model.kernels: {type(model).__name__} has only one attention;"
            f" leave out {kernels}, or set stock"
        )
    for part in parts:
        if not auto or (
            internals.attention_of(part.config) == "sdpa" and not _checks_for_sdpa(part)
        ):
            _set_attention(part, NAME if auto else kernels)
    if auto:
        for module in model.modules():
            if type(module) is nn.Dropout:
                module.__class__ = Dropout  # in place, with whatever others attached to it
    return model


def _set_attention(model: Any, name: str) -> None:
    try:
        model.set_attn_implementation(name)
    except (ValueError, ImportError) as error:
        raise UserError(
            f"model.kernels: {' '.join(str(error).split())}"
            " (auto, stock, or the name of an attention of transformers)"
        ) from error


def leave(model: nn.Module) -> None:
    """Sets attention of ours back to that of transformers, which alone can be traced."""
    for part in model.modules():
        if internals.can_set_attention(part):
            config: Any = part.config
            if internals.attention_of(config) == NAME:
                _set_attention(part, "sdpa")
