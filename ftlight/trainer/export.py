"""Folders that stock libraries load with the same scores: transformers, sentence-transformers."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from ftlight.models.loading import Pooled
from ftlight.utils.errors import UserError

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
    write_json(body / "sentence_bert_config.json", {"max_seq_length": limit, "do_lower_case": False})
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
    weights = {k: v.detach().cpu() * (model.scale if model.scale and k == "weight" else 1) for k, v in model.head.state_dict().items()}
    head = {f"linear.{k}": v.contiguous() for k, v in weights.items()}
    save_file(head, dense / "model.safetensors", metadata={"format": "pt"})
    modules = [{"idx": i, "name": str(i), "path": p, "type": NAMESPACE + t} for i, (p, t) in enumerate(parts)]
    write_json(folder / "modules.json", modules)


def write_tokenizer(tokenizer: Any, limit: int, folder: Path) -> None:
    """Writes the tokenizer with the limit of tokens the model was trained with, so that it cuts at the same place."""
    copied = copy.deepcopy(tokenizer)
    copied.model_max_length = limit
    copied.save_pretrained(folder)


def write_json(path: Path, data: Any) -> None:
    """Writes JSON that a person can read, too."""
    path.write_text(json.dumps(data, indent=2) + "\n")


def prepare(folder: Path) -> Path:
    """Makes the folder of an export.

    Raises:
        UserError: it is there already and not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already and not empty; give another with --out DIR")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def card(run: dict[str, Any], task: Any, how: str, scores: dict[str, Any], share: float | None = None) -> str:
    """A model card: what it is, how it was made, how it was measured, how it is loaded.

    Args:
        run: what run.json holds.
        task: the task.
        how: lines of Python that load the folder.
        scores: what test_metrics.json holds, or nothing.
        share: share of the fine-tuned weights, where they were mixed with the pre-trained ones.
    """
    library = next(iter(re.findall(r"^(?:from|import) (\w+)", how, re.M)), "transformers").replace("_", "-")
    rows = "\n".join(f"| {k} | {'n/a' if v is None else f'{v:.4f}'} |" for k, v in scores.items() if isinstance(v, float | None))
    return (
        f"---\nlibrary_name: {library}\nbase_model: {run.get('backbone')}\n---\n"
        f"# {type(task).__name__} on {run.get('backbone')}\n\n"
        f"Fine-tuned with ftlight {run.get('versions', {}).get('ftlight', '')},"
        f" seed {run.get('seed')}{'; labels: ' + ', '.join(task.labels) if task.labels else ''}."
        + ("" if share is None else f" The backbone's weights are {share:g} fine-tuned and {1 - share:g} pre-trained (WiSE-FT).")
        + "\n\n"
        f"```python\n{how}\n```\n\n"
        + (
            f"Measured on the test data ({scores.get('test/rows')} rows):\n\n| metric | value |\n|---|---|\n{rows}\n"
            if rows
            else "Not tested.\n"
        )
    )
