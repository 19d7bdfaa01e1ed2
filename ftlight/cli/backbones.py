"""Backbones and settings that ``auto`` tries, by task."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ftlight.cli.draft import BACKBONES, SENTENCE_ENCODER
from ftlight.models import places
from ftlight.utils.errors import UserError

TEXT = (
    *(SENTENCE_ENCODER, "BAAI/bge-small-en-v1.5", "microsoft/deberta-v3-small"),
    *("answerdotai/ModernBERT-base", "intfloat/multilingual-e5-small"),
)
# Small models first: a limit of minutes on a laptop is kept with these.
LISTS: Mapping[str, Sequence[str]] = {
    "ImageClassification": (
        *(BACKBONES["ImageClassification"], "microsoft/resnet-18"),
        *("facebook/dinov2-small", "google/vit-base-patch16-224"),
    ),
    "CausalLM": (BACKBONES["CausalLM"], "Qwen/Qwen2.5-0.5B-Instruct"),
    "Seq2Seq": (BACKBONES["Seq2Seq"], "google/flan-t5-small"),
}
DEPTH = {"model.unfreeze": "auto"}
MOST = 3  # backbones that are compared unless they are named
FEW_LABELS = 3  # up to which l2_sp and mixup were measured to pay


def candidates(task: str) -> list[str]:
    """Backbones for a task: those of its list on this machine, else its first one from the hub."""
    names = LISTS.get(task, TEXT)
    here = [name for name in names if is_here(name)][:MOST]
    return here or [names[0]]


def is_here(name: str) -> bool:
    """Whether a backbone needs no network: it is a folder, in a package or in the hub's cache."""
    try:
        if os.path.isdir(places.locate(name)):
            return True
    except UserError:
        return False
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json"), str)


def settings(task: str, labels: int, rate: float | None) -> list[dict[str, str]]:
    """Other settings worth a try, the likeliest first, as options.

    Args:
        task: name of the task.
        labels: number of labels; 0 if there are none.
        rate: the top rate of the run by the defaults; None if it is not known.
    """
    found: list[dict[str, str]] = []
    if task in ("TextClassification", "ImageClassification") and labels:
        few = {"model.l2_sp": "10"}, {"model.mixup": "0.2"}
        many = {"model.dropout": "0"}, {"model.label_smoothing": "0.1"}
        found += few if labels <= FEW_LABELS else many
    if rate:
        found += [{"model.lr": f"{rate * times:.2g}"} for times in (2, 0.5)]
    return [*found, DEPTH]
