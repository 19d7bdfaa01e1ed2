"""Faster forms of what a step spends its time on, for any transformers model: attention and dropout on a CPU."""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ftlight.utils import internals
from ftlight.utils.errors import UserError

NAME = "ftlight"  # of our attention among those of transformers
CHUNK = 1 << 20  # attention scores that are worked on at a time: 2 to 4 MB, which stay in the cache
SLOW = {
    torch.bfloat16
}  # types whose backward pass is slow in torch's kernel for a CPU, which is taken where nothing is dropped
SHORT = 512  # keys up to which its forward pass is slow too
DRAWS = 1 << 16  # a mask is drawn with 16 bits a number: a share is met to 1/65536


def kept(
    shape: torch.Size, share: float, dtype: torch.dtype, generator: torch.Generator | None = None
) -> Tensor:
    """A mask of ones, with zeros for a share of it drawn at random, on the CPU.

    Four numbers are made of each 64 random bits, and compared straight into the mask: a fifth of the time of ``bernoulli_``.

    Args:
        shape: shape of the mask.
        share: share of zeros, above 0 and below 1.
        dtype: type of the mask.
        generator: source of random numbers; torch's own if not given.
    """
    count = shape.numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(
        -(2**63), None, generator=generator
    )
    return torch.ge(
        bits.view(torch.int16)[:count].view(shape),
        round(share * DRAWS) - DRAWS // 2,
        out=torch.empty(shape, dtype=dtype),
    )


def drawable(share: float) -> bool:
    """Whether 16 bits can draw a share."""
    return 0 < round(share * DRAWS) < DRAWS


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:
        mask = kept(x.shape, share, x.dtype)
        ctx.save_for_backward(mask)
        ctx.scale = 1 / (1 - share)
        return (x * mask).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return (grad * ctx.saved_tensors[0]).mul_(ctx.scale), None


class Dropout(nn.Dropout):
    """Dropout with masks that are cheap on a CPU; the same law as ``nn.Dropout``, with other numbers from the same seed."""

    def forward(self, x: Tensor) -> Tensor:
        """Drops values at random in training."""
        ours = (
            self.training and x.device.type == "cpu" and drawable(self.p) and x.is_floating_point()
        )
        if not ours or torch.compiler.is_compiling():
            return super().forward(x)
        return _Dropped.apply(x, self.p)  # type: ignore[no-untyped-call]


class _Attention(torch.autograd.Function):
    """Attention, a few rows at a time, whose scores stay in the cache; those of many rows are made again in the backward pass.

    Memory is then that of queries, keys and values, as in FlashAttention (Dao et al. 2022), whose tiles here are whole rows.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        seen: Tensor | None,
        causal: bool,
        share: float,
        scale: float,
    ) -> Tensor:
        ctx.share, ctx.scale, ctx.causal = share, scale, causal
        ctx.seed = int(torch.empty((), dtype=torch.int64).random_()) if share else 0
        out = q.new_empty(q.shape[0], q.shape[2], q.shape[1], v.shape[3])
        for rows, scores, mask in _parts(ctx, q, k, seen):
            weights = scores if mask is None else scores * mask
            found = _product(weights, _flat(v[rows]), 1 / (1 - share))
            out[rows] = found.view(-1, q.shape[1], *found.shape[1:]).transpose(1, 2)
        whole = len(scores) == q.shape[0] * q.shape[1] and scores.numel() <= CHUNK
        ctx.save_for_backward(q, k, v, seen, *((scores, mask) if whole else ()))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, seen, *made = ctx.saved_tensors
        up, scale = 1 / (1 - ctx.share), ctx.scale
        grads = [
            t.new_empty(t.shape[0], t.shape[2], t.shape[1], t.shape[3]).transpose(1, 2)
            for t in (q, k, v)
        ]
        for rows, scores, mask in [(slice(None), *made)] if made else _parts(ctx, q, k, seen):
            down = _flat(grad[rows].transpose(1, 2))
            dropped = scores if mask is None else scores * mask
            dv = _product(dropped.transpose(1, 2), down, up)
            dscores = _product(down, _flat(v[rows]).transpose(1, 2), up)
            if mask is not None:
                dscores.mul_(mask)
            dscores = internals.softmax_backward(dscores, scores, -1, scores.dtype)
            dq = _product(dscores, _flat(k[rows]), scale)
            dk = _product(dscores.transpose(1, 2), _flat(q[rows]), scale)
            for whole, part in zip(grads, (dq, dk, dv), strict=True):
                whole[rows] = part.view(-1, q.shape[1], *part.shape[1:])
        return *grads, None, None, None, None


def _parts(ctx: Any, q: Tensor, k: Tensor, seen: Tensor | None) -> Any:
    """Yields rows, their attention weights ``[rows · heads, queries, keys]`` and, where some are dropped, the mask of those kept."""
    generator = torch.Generator().manual_seed(ctx.seed) if ctx.share else None
    size = max(1, CHUNK // (q.shape[1] * q.shape[2] * k.shape[2]))
    for start in range(0, len(q), size):
        rows = slice(start, start + size)
        scores = _product(_flat(q[rows]), _flat(k[rows]).transpose(1, 2), ctx.scale)
        if seen is not None:
            _limit(
                scores.view(-1, q.shape[1], *scores.shape[1:]),
                seen if len(seen) == 1 else seen[rows],
            )
        elif ctx.causal:
            _limit(scores, torch.ones(scores.shape[1:], dtype=torch.bool).tril())
        scores = internals.softmax(scores, -1, False)
        yield (
            rows,
            scores,
            None if generator is None else kept(scores.shape, ctx.share, scores.dtype, generator),
        )


def _limit(scores: Tensor, seen: Tensor) -> None:
    """Adds a mask to scores, in place; a query that sees no key sees all alike, which is finite."""
    least = torch.finfo(scores.dtype).min
    if seen.dtype == torch.bool:
        scores.masked_fill_(~seen, least)
    else:
        scores.add_(seen.clamp(min=least / 2).to(scores.dtype))


def _flat(x: Tensor) -> Tensor:
    """``[rows, heads, …]`` as ``[rows · heads, …]``."""
    return x.reshape(-1, *x.shape[2:])


def _product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """``scale · a @ b`` of stacks of matrices."""
    return torch.baddbmm(a.new_empty(1, 1, 1), a, b, beta=0, alpha=scale)


def attend(
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
    """Attention for transformers' interface: ours on a CPU with dropout or in bfloat16, else torch's.

    On a CPU torch keeps all scores where there is dropout, and is slow in bfloat16 where there is none.

    Args:
        module: the attention layer.
        query: ``[rows, heads, queries, width]``.
        key: ``[rows, heads (or fewer), keys, width]``.
        value: as keys.
        attention_mask: true where a key may be seen, or numbers added to the scores; broadcast to ``[rows, heads, queries, keys]``.
        dropout: share of the attention weights that is dropped.
        scaling: factor of the scores; 1 / √width if not given.
        is_causal: whether a query sees no later keys, where no mask is given.
        kwargs: what the model passes on.

    Returns:
        ``[rows, queries, heads, width]``, and None for the weights.
    """
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    trains = torch.is_grad_enabled() and (
        query.requires_grad or key.requires_grad or value.requires_grad
    )
    slow = value.dtype in SLOW and (trains or (1 < query.shape[2] and key.shape[2] <= SHORT))
    plain = all(
        kwargs.get(name) is None for name in ("position_bias", "cache", "softcap")
    ) and _usual(query, key, value, attention_mask)
    # with dropout also where nothing trains: a pass that is checkpointed must draw what its repetition draws
    ours = plain and (drawable(dropout) or (slow and not dropout)) and query.device.type == "cpu"
    if not ours or torch.compiler.is_compiling():
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs
        )
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    causal = (
        bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
        and query.shape[2] > 1
    )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key = query.to(value.dtype), key.to(value.dtype)
    with torch.autocast("cpu", enabled=False):
        return _Attention.apply(query, key, value, attention_mask, causal, dropout, scale), None  # type: ignore[no-untyped-call]


def _usual(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
    """Whether shapes are those of one attention for each row, and the mask is one that is not learned."""
    rows, fits = (
        len(query),
        mask is None
        or (mask.ndim == 4 and len(mask) in (1, len(query)) and not mask.requires_grad),
    )
    return 0 < rows == len(key) == len(value) and fits


@functools.cache
def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def _asks(model: nn.Module) -> bool:
    """Whether the code of a model does other things under the name of torch's attention, and so does not know ours."""
    return (
        re.search(
            r"_attn_implementation\b.*sdpa",
            inspect.getsource(inspect.getmodule(type(model)) or type(model)),
        )
        is not None
    )


def use(model: nn.Module, kernels: str) -> nn.Module:
    """Gives a model its kernels, where it has attention of transformers' interface; in place.

    Args:
        model: any transformers model.
        kernels: auto for ours; stock for what transformers and torch choose; or a name of transformers' (sdpa, eager,
            flash_attention_2, flex_attention, …).

    Raises:
        UserError: transformers refuses the name.
    """
    if kernels == "stock":
        return model
    _register()
    wanted = NAME if kernels == "auto" else kernels
    mine: list[Any] = [m for m in model.modules() if internals.can_set_attention(m)]
    chosen = (
        mine
        if kernels != "auto"
        else [m for m in mine if internals.attention_of(m.config) == "sdpa" and not _asks(m)]
    )
    try:
        for part in chosen:
            part.set_attn_implementation(wanted)
    except (ValueError, ImportError) as error:
        raise UserError(
            f"model.kernels: {' '.join(str(error).split())} (auto, stock, or a name of transformers' attention)"
        ) from error
    if kernels == "auto":
        for module in model.modules():
            if type(module) is nn.Dropout:
                module.__class__ = Dropout  # in its place, with all that others hold of it
    elif not mine:
        raise UserError(
            f"model.kernels: {type(model).__name__} has one attention only; leave out {kernels}, or set stock"
        )
    return model
