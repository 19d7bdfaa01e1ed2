"""Generates a reply token by token; what the model has read is kept for what follows it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

SURE = 1e-4  # temperatures below it are greedy: logits divided by less are no longer finite


class Drawing(NamedTuple):
    """How tokens are drawn.

    Attributes:
        temperature: sampling temperature; 0 is greedy.
        top_p: probability mass to sample from.
        seed: seed of the draws.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


GREEDY = Drawing()


class Kept:
    """What a model has read: tokens, and its keys and values of them."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.cache: Any = None

    def rewind(self, ids: Sequence[int]) -> int:
        """Forgets all but the beginning that it has in common with other tokens.

        Layers that keep a window, or a state of all before, cannot go back: they forget all.

        Returns:
            Number of tokens that need not be read again, at most all but the last.
        """
        same = common(self.ids, ids[:-1])
        if same < len(self.ids) and not _can_go_back(self.cache):
            self.cache, same = None, 0
        elif same < len(self.ids):
            self.cache.crop(same - len(self.ids))
        self.ids = self.ids[:same]
        return same


def common(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of tokens at the beginning that are the same.

    >>> common([1, 2, 3], [1, 2, 4, 5]), common([1, 2], [1, 2, 3]), common([], [1])
    (2, 2, 0)
    """
    most = min(len(first), len(second))
    if first[:most] == second[:most]:
        return most
    pairs = zip(first, second, strict=False)
    return next(i for i, (a, b) in enumerate(pairs) if a != b)


def _can_go_back(cache: Any) -> bool:
    from transformers.cache_utils import DynamicLayer

    layers = getattr(cache, "layers", [None])
    return all(type(layer) is DynamicLayer for layer in layers)


def tokens(
    model: Any,
    prompt: Sequence[int],
    ends: Collection[int],
    most: int,
    drawing: Drawing = GREEDY,
    kept: Kept | None = None,
) -> Iterator[int]:
    """Yields the tokens that follow a prompt, with the one that ends them.

    They are those of ``model.generate`` with the same settings, and without penalties.

    Args:
        model: A decoder with a head, in eval mode.
        prompt: Tokens, at least one.
        ends: Tokens that end a reply.
        most: The most tokens.
        drawing: How they are drawn.
        kept: What the model has read before; it is changed.
    """
    ids, kept = list(prompt), Kept() if kept is None else kept
    choose = _chooser(drawing, model.device)
    for _ in range(most):
        token = choose(next_logits(model, ids, kept))
        yield token
        if token in ends:
            return
        ids.append(token)


@torch.no_grad()
def next_logits(model: Any, ids: Sequence[int], kept: Kept) -> Tensor:
    """The logits of the token that follows others, ``[vocabulary]``.

    A model without a cache of keys and values reads all again.

    Args:
        model: A decoder with a head.
        ids: The tokens.
        kept: What it has read of them; becomes all of them.
    """
    takes = _takes(model.__class__)
    options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
    start = kept.rewind(ids)
    if "past_key_values" in takes:
        options |= {"past_key_values": kept.cache, "use_cache": True}
    kept.ids, kept.cache = [], None  # lost if the model fails
    given = torch.tensor([ids[start:]], device=model.device)
    out = model(input_ids=given, **options)
    cache = getattr(out, "past_key_values", None)
    if cache is not None:
        kept.ids, kept.cache = list(ids), cache
    logits: Tensor = out.logits[0, -1].float()
    return logits


@functools.cache
def _takes(kind: type) -> frozenset[str]:
    """Arguments of a model."""
    return frozenset(inspect.signature(kind.forward).parameters)  # type: ignore[attr-defined]


def _chooser(drawing: Drawing, device: torch.device) -> Callable[[Tensor], int]:
    """What chooses a token by logits, as transformers does."""
    if drawing.temperature < SURE:
        return lambda logits: int(logits.argmax())
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    warpers: list[Any] = [TemperatureLogitsWarper(float(drawing.temperature))]
    if drawing.top_p < 1:
        warpers.append(TopPLogitsWarper(drawing.top_p))
    generator = torch.Generator(device).manual_seed(drawing.seed)

    def draw(logits: Tensor) -> int:
        scores = logits[None]
        for warp in warpers:
            scores = warp(None, scores)
        return int(torch.multinomial(scores.softmax(-1), 1, generator=generator))

    return draw
