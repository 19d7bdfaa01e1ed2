"""Pre-trained models: their config, tokenizer and limits; see weights.py for the weights."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ftlight.models import config_check, folder_check
from ftlight.models.load_errors import check_forms, guarded, unreachable
from ftlight.models.places import PACKAGED as PACKAGED
from ftlight.models.places import file_in, folder_of, read_json
from ftlight.models.places import locate as locate
from ftlight.utils.errors import UserError

LARGEST = 10_000_000  # number of a token: real vocabularies have a million at most
TRIED = "one é 1 ☃"  # needs the token for unknown pieces in most vocabularies


@functools.lru_cache(8)
def load_config(name: str) -> Any:
    """The transformers config of a backbone.

    Raises:
        UserError: it cannot be loaded, or needs code of its own.
    """
    from transformers import AutoConfig

    what = f"the config.json in {name} cannot be used"
    with guarded(name, what, folder_check.CONFIG):
        config = AutoConfig.from_pretrained(locate(name), trust_remote_code=False)
        wrong = config_check.fault(config.to_dict(), type(config))
    if wrong:
        raise UserError(f"model.backbone: {what} ({wrong})")
    return config


@functools.lru_cache(8)
def load_tokenizer(name: str) -> Any:
    """The tokenizer of a backbone, with a pad token: its own, else end of text or unknown.

    Raises:
        UserError: it cannot be loaded, or has no token that could pad.
    """
    from transformers import AutoTokenizer

    check_forms(name, folder_check.TOKENIZER)
    with guarded(name, _no_tokenizer(name), folder_check.TOKENIZER):
        tokenizer = AutoTokenizer.from_pretrained(locate(name), trust_remote_code=False)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        if tokenizer.is_fast:
            tokenizer.backend_tokenizer.encode(TRIED)  # fails if the vocabulary lacks a token
            largest = max(tokenizer.get_vocab().values(), default=0)
            if largest > LARGEST:  # to write it down would take minutes: libraries fill the gaps
                raise ValueError(f"token number {largest:,} is beyond any vocabulary")
    if tokenizer.pad_token is None:
        raise UserError(
            f"model.backbone: the tokenizer of {name} has no pad, end-of-text or unknown token;"
            " set pad_token in its files, such as tokenizer_config.json"
        )
    longest = tokenizer.model_max_length
    if not isinstance(longest, (int, float)) or not longest >= 1:
        raise UserError(
            f"model.backbone: the tokenizer_config.json in {name} cannot be used"
            f" (model_max_length: {longest!r:.40} is no number of tokens)"
        )
    return tokenizer


def _no_tokenizer(name: str) -> str:
    """What is wrong if a tokenizer does not load."""
    folder = folder_of(name)
    if folder is None or folder_check.read_from(folder, folder_check.VOCABULARY):
        return f"the tokenizer in {name} cannot be loaded"
    return f"no tokenizer in {name}: it has no tokenizer.json, nor another vocabulary"


def backbone_file(name: str, file: str) -> str | None:
    """Path of a file of a backbone, such as 1_Pooling/config.json; None if it has none."""
    place = locate(name)
    if Path(place).is_dir():
        path = file_in(Path(place), file)
        return None if path is None else str(path)
    from transformers.utils import cached_file

    try:  # without a network a missing file cannot be told from one that cannot be downloaded
        return cached_file(place, file, _raise_exceptions_for_missing_entries=False)
    except OSError as error:
        raise unreachable(name, error) from error


def read_file(name: str, file: str, shape: Any) -> dict[str, Any]:
    """What a JSON file of a backbone holds; empty if there is no such file.

    Args:
        name: hub id or folder.
        file: path of the file in it.
        shape: what it must hold; see :data:`ftlight.utils.json_file.Shape`.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    path = backbone_file(name, file)
    return {} if path is None else dict(read_json(path, shape))


def hidden_size(config: Any) -> int:
    """Width of a model's hidden states, in numbers per token; 768 if its config does not say."""
    text = config.get_text_config()
    # OPT's layers may be wider than what it returns.
    names = ("word_embed_proj_dim", "hidden_size", "d_model")
    return int(next((size for name in names if (size := getattr(text, name, 0))), 768))


def width(name: str) -> int:
    """Width of a backbone's hidden states, in numbers per token."""
    return hidden_size(load_config(name))


@functools.lru_cache(8)
def outline(name: str) -> nn.Module | None:
    """A backbone that takes no memory (torch's device ``meta``); None if none can be made so.

    Raises:
        UserError: the weights would not fit into this machine's memory.
    """
    from transformers import AutoModel

    try:
        with torch.device("meta"):
            model = AutoModel.from_config(load_config(name), trust_remote_code=False)
    except UserError:
        raise
    except Exception:  # what is wrong shows when the weights are loaded
        return None
    wrong = config_check.too_large(model)
    if wrong:
        raise UserError(f"model.backbone: the config.json in {name} asks for {wrong}")
    return model


@functools.lru_cache(8)
def positions(name: str) -> int | None:
    """The most tokens that a backbone's position embeddings take; None without such a limit.

    RoBERTa and its kin count from the padding index + 1, so that 514 embeddings take 512 tokens.
    """
    config = load_config(name)
    most = getattr(config, "max_position_embeddings", None)
    if not most or most < 0:  # XLNet says -1
        return None
    model = outline(name)
    limits = [int(most)]
    for part, module in model.named_modules() if model is not None else ():
        if isinstance(module, nn.Embedding) and "position" in part:
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(module.num_embeddings - first)
    return min(limits)


def save_description(name: str, folder: Path) -> None:
    """Writes a backbone without its weights, so that a checkpoint can be loaded into it.

    These are its config, tokenizer or image processor, and pooling.
    """
    load_config(name).save_pretrained(folder)
    files = ["preprocessor_config.json"]
    if not any(backbone_file(name, file) for file in files):  # it reads texts
        load_tokenizer(name).save_pretrained(folder)
        files = ["modules.json", "1_Pooling/config.json", "sentence_bert_config.json"]
    for file in files:
        source = backbone_file(name, file)
        if source is not None and Path(source).is_file():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_bytes(Path(source).read_bytes())
