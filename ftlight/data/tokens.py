"""From texts to padded tensors: limits, tokenizing, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ftlight.data import heads
from ftlight.models.loading import load_tokenizer, positions, read_file
from ftlight.utils.errors import UserError

LEAST = 3  # tokens of a text: one, and those around it
IGNORE = -100  # label of a token without a loss, as in transformers


def max_length(name: str, trained: bool = True) -> int:
    """The most tokens that a backbone takes, special tokens included.

    The least that its tokenizer, its position embeddings and a sentence encoder's training allow.

    Args:
        name: hub id or folder.
        trained: whether the length that a sentence encoder was trained with counts; beyond it
            pooled vectors get no better.

    Raises:
        UserError: its files say that it takes none.
    """
    limits = [load_tokenizer(name).model_max_length]
    places = positions(name)
    if places:
        limits.append(places)
    if trained:
        shape = {"max_seq_length": (int, None)}
        limits.append(read_file(name, "sentence_bert_config.json", shape).get("max_seq_length"))
    shortest = min(limit for limit in limits if limit is not None)
    if shortest < LEAST:
        raise UserError(
            f"model.backbone: {name} takes {shortest} tokens: see model_max_length in its"
            " tokenizer_config.json, max_seq_length in sentence_bert_config.json and"
            " max_position_embeddings in config.json"
        )
    return shortest if shortest < 10**6 else 4096  # tokenizers without a limit say 10**30


def check_length(option: str, length: int | None, most: int) -> None:
    """Checks a number of tokens that a user gave.

    Raises:
        UserError: it is more than the backbone takes, or leaves no room for a token.
    """
    if length is not None and not LEAST <= length <= most:
        fault = f"{length} is not between {LEAST} and the backbone's {most} tokens"
        raise UserError(f"{option}: {fault}")


def check_places(tokenizer: Any) -> None:
    """Checks that a tokenizer knows which characters its tokens come from.

    Raises:
        UserError: it is a slow one, which does not.
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path} has no tokenizer.json:"
            " it cannot tell which part of a text a token is"
        )


def identity(tokenizer: Any) -> str:
    """The rules of a tokenizer as text, for cache keys, without the limits set by its last call."""
    if not tokenizer.is_fast:
        return f"{tokenizer.name_or_path} {tokenizer!r}"
    # in its JSON the limits (truncation, padding) come first
    limits, mark, rules = tokenizer.backend_tokenizer.to_str().partition('"added_tokens":')
    return mark + rules if mark else str(limits)


def made_with(tokenizer: Any) -> dict[str, str]:
    """The content of a tokenizer as text, wherever its files are: rules, padding and vocabulary."""
    rules = identity(tokenizer) if tokenizer.is_fast else sorted(tokenizer.get_vocab().items())
    padding = tokenizer.padding_side, sorted(map(str, tokenizer.special_tokens_map.items()))
    return {"tokenizer": f"{rules} {padding}"}


def hidden(tokenizer: Any) -> str:
    """What stands for a word that a model is not to see: its mask, else its unknown token.

    Empty if the tokenizer has neither, or the latter ends texts: the word is then to be left out.
    """
    ends = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token)
    unknown = "" if tokenizer.unk_token in ends else tokenizer.unk_token
    return tokenizer.mask_token or unknown or ""


def blank(tokenizer: Any) -> int:
    """The token of a row without any: a decoder's tokenizer gives none for an empty text."""
    known = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return int(next(token for token in known if token is not None))


def tokenize(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, longest: int
) -> dict[str, list[Any]]:
    """Tokenizes texts or pairs of texts and cuts them at ``longest``, the longer of a pair first.

    Returns:
        Columns with one value per row: ``input_ids``, ``token_type_ids`` (of pairs, if the model
        has them), and the number of tokens after cutting (``length``) and before (``uncut``, about
        so many if the text is very long). A row has at least one token.
    """
    begun = heads.heads(tokenizer, texts, pairs, longest)
    inputs = tuple(some for some in begun if some is not None)
    types = pairs is not None and "token_type_ids" in tokenizer.model_input_names
    options = {"padding": False, "return_attention_mask": False, "return_token_type_ids": types}
    out = tokenizer(*inputs, truncation=False, verbose=False, **options)
    for name in out:
        out[name] = [ids or [blank(tokenizer) if name == "input_ids" else 0] for ids in out[name]]
    counted = [len(ids) for ids in out["input_ids"]]
    uncut = heads.counts(counted, inputs, [some for some in (texts, pairs) if some is not None])
    names = ["input_ids", "token_type_ids"] if types else ["input_ids"]
    columns = {name: list(out[name]) for name in names}
    over = [i for i, n in enumerate(uncut) if n > longest]
    if over:
        long = [[some[i] for i in over] for some in inputs]
        cut = tokenizer(*long, truncation=True, max_length=longest, **options)
        for name, column in columns.items():
            for i, ids in zip(over, cut[name], strict=True):
                column[i] = ids
    return {**columns, "length": [len(ids) for ids in columns["input_ids"]], "uncut": uncut}


def cut_notes(split: str, what: str, uncut: Sequence[int], most: int) -> list[str]:
    """A note of how many texts of a split were cut; none if none was.

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
    count = np.count_nonzero(over)
    return [
        f"{split}: {count} of {len(sizes)} {what} are longer than {most} tokens and cut ({lost})"
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
    """Model inputs of a batch with the attention mask, ``int64 [rows, longest]`` each."""
    left = tokenizer.padding_side == "left"
    ids = columns["input_ids"]
    inputs = {
        "input_ids": pad(ids, tokenizer.pad_token_id, left),
        "attention_mask": pad([[1] * len(row) for row in ids], 0, left),
    }
    if "token_type_ids" in columns:
        inputs["token_type_ids"] = pad(columns["token_type_ids"], 0, left)
    return inputs
