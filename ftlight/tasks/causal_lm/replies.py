"""Generates replies, and computes how likely tokens are, in parts that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor

from ftlight.tasks import generation
from ftlight.tasks.causal_lm.packing import padded

LOGITS = 2**26  # the most logits of an evaluation step
TOKENS = 2**14  # the most tokens of an evaluation step


def likelihood(
    model: Any, inputs: dict[str, Tensor], labels: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yields the likelihood of a batch (:func:`generation.likelihood`) in parts."""
    width = labels.shape[1]
    vocabulary = int(model.get_input_embeddings().num_embeddings)
    rows = max(1, min(LOGITS // (vocabulary * width), TOKENS // width))
    for a in range(0, len(labels), rows):
        part = {k: v[a : a + rows] for k, v in inputs.items()}
        nll, right, line = generation.likelihood(model, part, labels[a : a + rows])
        yield nll.float(), right, line + a


def generation_config(
    tokenizer: Any, ends: Sequence[int], new_tokens: int, temperature: float, top_p: float
) -> Any:
    """How replies are generated, as a transformers GenerationConfig.

    Args:
        tokenizer: Gives the tokens to begin and pad with.
        ends: Tokens that end a reply.
        new_tokens: The most tokens of a reply.
        temperature: Sampling temperature; 0 is greedy.
        top_p: Probability mass to sample from.
    """
    from transformers import GenerationConfig

    options: dict[str, Any] = {"do_sample": False}
    if temperature:
        options = {"do_sample": True, "top_k": 0, "temperature": temperature, "top_p": top_p}
    return GenerationConfig(
        max_new_tokens=new_tokens,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=list(ends),
        **options,
    )


def write(model: Any, prompts: list[list[int]], seed: int | None) -> list[tuple[list[int], float]]:
    """Generates a batch of replies as the model's generation_config says.

    Args:
        model: A decoder with a head.
        prompts: Tokens of each prompt.
        seed: Seed of random draws; None if there are none.

    Returns:
        For each prompt the tokens of the reply, with the one that ends it, and their mean
        log-probability.
    """
    pad, ends = model.generation_config.pad_token_id, model.generation_config.eos_token_id
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices, enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        replies = generation.write(model, prompts, pad, set(ends))
    pairs = list(zip(prompts, replies, strict=True))
    ids = [prompt + reply for prompt, reply in pairs]
    masks = [[False] * len(prompt) + [True] * len(reply) for prompt, reply in pairs]
    batch = move_data_to_device(padded(ids, masks, pad), model.device)
    total = torch.zeros(len(ids), dtype=torch.float, device=model.device)
    for nll, _, line in likelihood(model, batch["inputs"], batch["labels"]):
        total.index_add_(0, line, -nll)
    return [(r, t / len(r)) for r, t in zip(replies, total.tolist(), strict=True)]


def evenly(rows: int, count: int) -> list[int]:
    """Returns row numbers, evenly spread.

    >>> evenly(10, 3)
    [1, 5, 8]
    """
    count = min(rows, count)
    return [(2 * i + 1) * rows // (2 * count) for i in range(count)]
