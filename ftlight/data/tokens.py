"""From texts to padded tensors: tokenizer, limits, padding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ftlight.models.loading import backbone_file, load_config, load_tokenizer
from ftlight.utils.errors import UserError

IGNORE = -100  # label of a token that no loss is taken of, as in transformers


def max_length(name: str, trained: bool = True) -> int:
    """The most tokens that a backbone takes, special tokens included.

    The smallest of what its tokenizer, its position embeddings and, for a sentence encoder, its training say.

    Args:
        name: hub id or folder.
        trained: whether the length counts that a sentence encoder was trained with; it pools no better beyond.
    """
    limits = [load_tokenizer(name).model_max_length]
    positions = getattr(load_config(name), "max_position_embeddings", None)
    if positions:
        # RoBERTa and its kin count positions from the padding index + 1 and keep two rows for that: 514 means 512
        limits.append(
            positions - 2 if positions > 4 and (positions - 2) & (positions - 3) == 0 else positions
        )
    file = backbone_file(name, "sentence_bert_config.json") if trained else None
    if file is not None:
        limits.append(json.loads(Path(file).read_text()).get("max_seq_length") or limits[0])
    shortest = min(limits)
    return shortest if shortest < 10**6 else 4096  # tokenizers without a limit say 10**30


def limit(name: str, given: int | None, most: int | None = None) -> int:
    """The most tokens of a row: as given, else as many as the backbone takes.

    Args:
        name: hub id or folder of the tokenizer.
        given: option data.max_length.
        most: another upper bound than :func:`max_length`.

    Raises:
        UserError: it is more than the backbone takes, or leaves no room for a token.
    """
    most = most or max_length(name)
    if given is not None and not 3 <= given <= most:
        raise UserError(
            f"data.max_length: {given} is not between 3 and the backbone's {most} tokens"
        )
    return given or most


def check_places(tokenizer: Any) -> None:
    """Checks that a tokenizer knows where in a text its tokens are.

    Raises:
        UserError: it is a slow one, which does not.
    """
    if not tokenizer.is_fast:
        name = tokenizer.name_or_path
        raise UserError(
            f"the tokenizer of {name} has no tokenizer.json: it cannot tell which part of a text a token is"
        )


def identity(tokenizer: Any) -> str:
    """What a tokenizer does, as text: its rules, without the limits that its last call left in it."""
    if not tokenizer.is_fast:
        return f"{tokenizer.name_or_path} {tokenizer!r}"
    limits, mark, rules = tokenizer.backend_tokenizer.to_str().partition(
        '"added_tokens":'
    )  # in JSON the limits come first
    return mark + rules if mark else str(limits)


def tokenize(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, longest: int
) -> dict[str, list[Any]]:
    """Tokenizes texts or pairs of texts, cutting at ``longest`` (the longer of a pair first).

    Returns:
        ``input_ids`` (and ``token_type_ids`` for pairs, where the model has them) as lists of row's lists,
        ``length`` after and ``uncut`` before cutting, in tokens.
    """
    given = (list(texts), list(pairs)) if pairs is not None else (list(texts),)
    types = pairs is not None and "token_type_ids" in tokenizer.model_input_names
    kwargs = {"padding": False, "return_attention_mask": False, "return_token_type_ids": types}
    out = tokenizer(*given, truncation=False, verbose=False, **kwargs)
    uncut = [len(ids) for ids in out["input_ids"]]
    columns = {
        k: list(out[k]) for k in (("input_ids", "token_type_ids") if types else ("input_ids",))
    }
    over = [i for i, n in enumerate(uncut) if n > longest]
    if over:
        cut = tokenizer(
            *([g[i] for i in over] for g in given), truncation=True, max_length=longest, **kwargs
        )
        for name, column in columns.items():
            for i, ids in zip(over, cut[name], strict=True):
                column[i] = ids
    return {**columns, "length": [len(ids) for ids in columns["input_ids"]], "uncut": uncut}


def cut_notes(split: str, what: str, uncut: Sequence[int], most: int) -> list[str]:
    """How many texts of a split were cut, in words; nothing where none was.

    Args:
        split: name of the split.
        what: what the texts are.
        uncut: tokens of each before cutting.
        most: tokens after it.
    """
    sizes = np.asarray(uncut)
    over = np.maximum(sizes - most, 0)
    if not over.any():
        return []
    lost = f"{over.sum() / sizes.sum():.1%} of all their tokens lost, longest {sizes.max()}"
    return [
        f"{split}: {np.count_nonzero(over)} of {len(sizes)} {what} are longer than {most} tokens and cut ({lost})"
    ]


def pad(rows: Sequence[Sequence[int]], value: int, left: bool = False) -> torch.Tensor:
    """Pads rows of integers to the longest.

    Returns:
        ``int64 [rows, longest]``.

    >>> pad([[1, 2], [3]], value=0)
    tensor([[1, 2],
            [3, 0]])
    """
    longest = max(map(len, rows))
    out = np.full((len(rows), longest), value, dtype=np.int64)
    for i, row in enumerate(rows):
        if left:
            out[i, longest - len(row) :] = row
        else:
            out[i, : len(row)] = row
    return torch.from_numpy(out)


def collate(columns: dict[str, list[Any]], tokenizer: Any) -> dict[str, torch.Tensor]:
    """Model inputs of a batch, ``int64 [rows, longest]`` each, with the attention mask."""
    left = tokenizer.padding_side == "left"
    ids = columns["input_ids"]
    inputs = {
        "input_ids": pad(ids, tokenizer.pad_token_id, left),
        "attention_mask": pad([[1] * len(row) for row in ids], 0, left),
    }
    if "token_type_ids" in columns:
        inputs["token_type_ids"] = pad(columns["token_type_ids"], 0, left)
    return inputs
