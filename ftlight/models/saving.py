"""Folders that stock libraries load with the same scores: transformers, sentence-transformers."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from ftlight.models.pooling import Encoder, Pooled

log = logging.getLogger(__name__)

NAMESPACE = "sentence_transformers.models."
POOLING = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "last": "lasttoken"}


def transformers(model: Any, tokenizer: Any, limit: int, folder: Path) -> None:
    """Writes a model with the architecture's native head; ``pipeline("text-classification", folder)`` loads it."""
    model.save_pretrained(folder)
    write_tokenizer(tokenizer, limit, folder)


def sentence_transformers(model: Pooled, tokenizer: Any, limit: int, folder: Path) -> None:
    """Writes a pooled model as Transformer, Pooling, Normalize and Dense; ``SentenceTransformer(folder).encode`` gives its logits.

    The transformer lies in a folder of its own, so that no other loader takes the whole for a model without this head.
    """
    kinds = ["Transformer", "Pooling", *(["Normalize"] if model.scale else []), "Dense"]
    parts = [(f"{i}_{kind}", kind) for i, kind in enumerate(kinds)]
    for name, _ in parts[1:]:
        (folder / name).mkdir(parents=True)
    body, pooling, dense = (folder / parts[i][0] for i in (0, 1, -1))
    model.model.save_pretrained(body)  # type: ignore[operator]
    write_tokenizer(tokenizer, limit, body)
    width = model.head.in_features
    write_json(
        body / "sentence_bert_config.json", {"max_seq_length": limit, "do_lower_case": False}
    )
    modes = {f"pooling_mode_{mode}": model.pooling == name for name, mode in POOLING.items()}
    write_json(pooling / "config.json", {"word_embedding_dimension": width, **modes})
    write_json(
        dense / "config.json",
        {
            "in_features": width,
            "out_features": model.head.out_features,
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    )
    weights = {
        k: v.detach().cpu() * (model.scale if model.scale and k == "weight" else 1)
        for k, v in model.head.state_dict().items()
    }
    head = {f"linear.{k}": v.contiguous() for k, v in weights.items()}
    save_file(head, dense / "model.safetensors", metadata={"format": "pt"})
    modules = [
        {"idx": i, "name": str(i), "path": p, "type": NAMESPACE + t}
        for i, (p, t) in enumerate(parts)
    ]
    write_json(folder / "modules.json", modules)


def write_tokenizer(tokenizer: Any, limit: int, folder: Path) -> None:
    """Writes the tokenizer with the limit of tokens the model was trained with, so that it cuts at the same place."""
    copied = copy.deepcopy(tokenizer)
    copied.model_max_length = limit
    copied.save_pretrained(folder)


def write_json(path: Path, data: Any) -> None:
    """Writes JSON that a person can read, too."""
    path.write_text(json.dumps(data, indent=2) + "\n")


def write_encoder(
    model: Encoder, tokenizer: Any, limit: int, prompts: dict[str, str], folder: Path
) -> None:
    """Writes an encoder as Transformer, Pooling and Normalize; ``SentenceTransformer(folder).encode`` gives its vectors.

    Args:
        model: the encoder.
        tokenizer: its tokenizer.
        limit: the most tokens of a text.
        prompts: what is put before a ``query`` and before a ``document``.
        folder: where to.
    """
    model.model.save_pretrained(folder)  # type: ignore[operator]
    write_tokenizer(tokenizer, limit, folder)
    modes = {f"pooling_mode_{mode}": model.pooling == name for name, mode in POOLING.items()}
    text: Any = model.model.config.get_text_config()  # type: ignore[union-attr, operator]
    width = getattr(text, "hidden_size", 0) or text.d_model
    parts = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    written = {
        "sentence_bert_config.json": {"max_seq_length": limit, "do_lower_case": False},
        "1_Pooling/config.json": {"word_embedding_dimension": width, **modes},
        "config_sentence_transformers.json": {"prompts": prompts, "similarity_fn_name": "cosine"},
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": NAMESPACE + name}
            for i, (path, name) in enumerate(parts)
        ],
    }
    for name, about in written.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_json(folder / name, about)
    (folder / "2_Normalize").mkdir()
