"""Folders that transformers and sentence-transformers load with the same scores."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from ftlight.models.loading import hidden_size
from ftlight.models.pooling import WORDS, Encoder, Pooled
from ftlight.utils.atomic import write_json

NAMESPACE = "sentence_transformers.models."


def transformers(model: Any, tokenizer: Any, limit: int, folder: Path) -> None:
    """Writes a model with its native head and its tokenizer; ``pipeline(…, folder)`` loads it.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        limit: the most tokens of a text.
        folder: the folder.
    """
    model.save_pretrained(folder)
    write_tokenizer(tokenizer, limit, folder)


def sentence_transformers(
    model: Encoder,
    tokenizer: Any,
    limit: int,
    folder: Path,
    prompts: Mapping[str, str] | None = None,
) -> None:
    """Writes a pooled model; ``SentenceTransformer(folder).encode`` gives its vectors or logits.

    The modules are Transformer, Pooling, Normalize if vectors have a length, and Dense for a head.
    With a head the transformer lies in a folder of its own, so that no other loader takes the
    whole for a model without this head.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        limit: the most tokens of a text.
        folder: the folder.
        prompts: texts that go before a ``query`` and before a ``document``.
    """
    has_head = isinstance(model, Pooled)
    kinds = ["Transformer", "Pooling"]
    kinds += ["Normalize"] if model.scale else []
    kinds += ["Dense"] if has_head else []
    parts = {kind: f"{i}_{kind}" for i, kind in enumerate(kinds)}
    if not has_head:
        parts["Transformer"] = ""
    for part in parts.values():
        (folder / part).mkdir(parents=True, exist_ok=True)
    body = folder / parts["Transformer"]
    transformers(model.model, tokenizer, limit, body)
    texts = {"max_seq_length": limit, "do_lower_case": False}
    write_json(body / "sentence_bert_config.json", texts, indent=2)
    flags = {f"pooling_mode_{word}": model.pooling == name for name, word in WORDS.items()}
    pooling = {"word_embedding_dimension": hidden_size(model.model.config), **flags}
    write_json(folder / parts["Pooling"] / "config.json", pooling, indent=2)
    if isinstance(model, Pooled):
        _write_dense(model, folder / parts["Dense"])
    if prompts is not None:
        settings = {"prompts": prompts, "similarity_fn_name": "cosine"}
        write_json(folder / "config_sentence_transformers.json", settings, indent=2)
    write_modules(parts, folder)


def _write_dense(model: Pooled, folder: Path) -> None:
    """Writes the head; it includes the length of the vectors, since Normalize brings them to 1."""
    settings = {
        "in_features": model.head.in_features,
        "out_features": model.head.out_features,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    write_json(folder / "config.json", settings, indent=2)
    weight, bias = (p.detach().cpu() for p in (model.head.weight, model.head.bias))
    tensors = {"linear.weight": weight * (model.scale or 1), "linear.bias": bias}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def write_modules(parts: Mapping[str, str], folder: Path) -> None:
    """Writes the list of modules of a sentence-transformers folder.

    Args:
        parts: kinds of modules, such as Pooling, to their folders inside this one.
        folder: the folder.
    """
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": NAMESPACE + kind}
        for i, (kind, path) in enumerate(parts.items())
    ]
    write_json(folder / "modules.json", modules, indent=2)


def write_tokenizer(tokenizer: Any, limit: int, folder: Path) -> None:
    """Writes a tokenizer that cuts texts where training did.

    Args:
        tokenizer: the tokenizer.
        limit: the most tokens of a text.
        folder: the folder.
    """
    limited = copy.deepcopy(tokenizer)
    limited.model_max_length = limit
    limited.save_pretrained(folder)
