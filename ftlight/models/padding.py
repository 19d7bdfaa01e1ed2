"""Padding that leaves each row's result as it is without other rows beside it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftlight.models.modes import evaluating

# Four lengths in a row: an architecture that merges two or four tokens (Funnel) needs each.
TEXTS = ["one", "one two", "one two three", "one two three four", "one two three four " * 3]
# What transformers raises for inputs that a model does not take.
REFUSED = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
# Of the largest number. fp32 differs by 1e-6 and bf16 by 1e-2, a shifted position by 1e-2 to 1.
TOLERANCE, ROUGH = 1e-4, 0.1

# The side of each model that was tried: the answer is the architecture's, so one try is enough.
_settled: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def settle(model: nn.Module, tokenizer: Any) -> str:
    """Finds out by trying how rows may be padded, and sets that.

    A decoder with learned positions (GPT-2) must be padded on the right, a model that reads its
    last position (XLNet) on the left. One that mixes tokens without a mask (FNet), or merges
    neighbours (Funnel), cannot be padded at all: from then on its ``forward`` runs rows of equal
    length together, without padding.

    Args:
        model: takes ``input_ids`` and ``attention_mask``, ``int64 [rows, tokens]``.
        tokenizer: its tokenizer, whose ``padding_side`` is set.

    Returns:
        A sentence if rows cannot be padded, otherwise nothing.
    """
    part = _reader(model)
    if part in _settled:  # a fit is followed by a test, with weights perhaps in another precision
        tokenizer.padding_side = _settled[part]
        return ""
    side = _side(part, tokenizer)
    tokenizer.padding_side = _settled[part] = side or "right"
    if side is not None:
        return ""
    part.forward = functools.partial(_by_length, part.forward)
    return (
        f"{type(model).__name__} does not ignore padding: only rows of equal length are computed"
        " together"
    )


def _side(model: nn.Module, tokenizer: Any) -> str | None:
    """The side on which a model ignores padding, its tokenizer's if it can; None if on neither.

    Longformer answers questions about pairs of texts alone, so these are tried if texts fail. A
    model that does not run on token ids, or not on this device, keeps its tokenizer's side.
    """
    own = str(tokenizer.padding_side)
    for texts in ([TEXTS], [["one"] * len(TEXTS), TEXTS]):
        rows = [ids for ids in tokenizer(*texts)["input_ids"] if ids]
        try:
            if not is_invariant(model, rows[:1], tokenizer.pad_token_id, left=False):
                return own
            for side in (own, "left" if own == "right" else "right"):
                if is_invariant(model, rows, tokenizer.pad_token_id, side == "left"):
                    return side
        except REFUSED:
            continue
        return None
    return own


def runs_unpadded(model: nn.Module) -> bool:
    """Whether a model computes rows of equal length together, without padding."""
    forward = _reader(model).forward
    return isinstance(forward, functools.partial) and forward.func is _by_length


def _reader(model: Any) -> nn.Module:
    """The part of a model that reads rows: of an encoder-decoder the encoder."""
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        encoder: nn.Module = model.get_encoder()
        return encoder
    whole: nn.Module = model
    return whole


@torch.no_grad()
def is_invariant(model: Any, rows: Sequence[list[int]], pad: int, left: bool) -> bool:
    """Tries whether rows give the same result alone as beside longer ones.

    Args:
        model: the model.
        rows: token ids of each row.
        pad: token to pad with.
        left: whether to pad on the left.
    """
    device = next(model.parameters()).device
    longest = max(map(len, rows))

    def run(padded: list[list[int]], mask: list[list[int]]) -> list[Tensor]:
        inputs = {"input_ids": torch.tensor(padded), "attention_mask": torch.tensor(mask)}
        return _tensors(model(**{name: t.to(device) for name, t in inputs.items()}))

    def spread(row: list[int], value: int) -> list[int]:
        filling = [value] * (longest - len(row))
        return filling + row if left else row + filling

    with evaluating(model):
        together = run(
            [spread(row, pad) for row in rows], [spread([1] * len(row), 0) for row in rows]
        )
        for i, row in enumerate(rows):
            alone = run([row], [[1] * len(row)])
            for one, many in zip(alone, together, strict=True):
                if not _close(one[0], many[i], len(row), longest, left):
                    return False
    return True


def _close(one: Tensor, many: Tensor, length: int, longest: int, left: bool) -> bool:
    """Compares a row's result alone and among others, over its own tokens if it has one for each.

    Args:
        one: ``[tokens of the row, …]``, or any shape if the result is one of the whole row.
        many: the same with the tokens of the longest row.
        length: tokens of the row.
        longest: tokens of the longest row.
        left: whether the row was padded on the left.
    """
    if one.shape != many.shape:
        if one.shape[:1] != (length,) or many.shape[:1] != (longest,):
            return False
        many = many[longest - length :] if left else many[:length]
    tolerance = TOLERANCE if torch.finfo(one.dtype).bits > 16 else ROUGH
    scale = max(float(one.abs().max()), 1e-12)
    return float((one - many).abs().max()) <= tolerance * scale


def _tensors(output: Any) -> list[Tensor]:
    """The first tensors of a model's output: logits, start and end logits, states or vectors."""
    if isinstance(output, Tensor):
        return [output]
    names = [n for n in ("logits", "start_logits", "end_logits") if output.get(n) is not None]
    return [output[n] for n in names or ["last_hidden_state"]]


def _by_length(forward: Callable[..., Any], **kwargs: Any) -> Any:
    """Runs rows of equal length together, without padding.

    Args:
        forward: the model's own forward.
        kwargs: inputs of a batch padded on the right, with its ``attention_mask``; without one
            there is no padding. (transformers asks for this name before it hands all inputs to an
            encoder.)

    Returns:
        What ``forward`` returns, with the rows in their order; padded with 0 where it has a value
        for each token.
    """
    inputs, mask = kwargs, kwargs.get("attention_mask")
    if mask is None:
        return forward(**kwargs)
    owner: Any = forward.__self__  # type: ignore[attr-defined]
    config = getattr(getattr(owner, "base_model", owner), "config", None)
    shortest = getattr(config, "downsampling_rate", 1)  # CANINE merges so many characters
    if mask.shape[1] < shortest:
        short, wider = mask.shape, [0, shortest - mask.shape[1]]
        inputs = {k: F.pad(v, wider) if v.shape[:2] == short else v for k, v in inputs.items()}
        mask = inputs["attention_mask"]
    lengths = mask.sum(1).clamp(min=shortest)
    groups = [(lengths == n).nonzero().squeeze(1) for n in lengths.unique()]
    outputs = []
    for rows in groups:
        length = int(lengths[rows[0]])
        part = {
            name: value[rows, :length] if _per_token(value, mask) else value
            for name, value in inputs.items()
        }
        outputs.append(forward(**part))
    return _merged(outputs, torch.cat(groups).argsort())


def _per_token(value: Any, mask: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape[:2] == mask.shape


def _merged(parts: Sequence[Any], order: Tensor) -> Any:
    """Outputs of groups of rows as one output.

    Args:
        parts: the output of each group.
        order: place of each row of the batch in the groups one after the other.
    """
    first = parts[0]
    if isinstance(first, Tensor):
        widest = max(part.shape[1] for part in parts) if first.ndim > 1 else 0
        if any(part.ndim > 1 and part.shape[1] != widest for part in parts):
            parts = [_widened(part, widest) for part in parts]
        return torch.cat(list(parts))[order]
    if isinstance(first, dict):
        merged = {name: _merged([part[name] for part in parts], order) for name in first}
        return type(first)(**merged)
    if isinstance(first, tuple):
        return tuple(_merged(list(some), order) for some in zip(*parts, strict=True))
    return first


def _widened(part: Tensor, widest: int) -> Tensor:
    """Pads the second dimension with 0."""
    return F.pad(part, [0, 0] * (part.ndim - 2) + [0, widest - part.shape[1]])
