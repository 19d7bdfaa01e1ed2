"""Learning from few rows or none: class vectors from label names, and the contrastive loss.

Pure functions of names and tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ftlight.utils import yaml_file
from ftlight.utils.errors import UserError, join_limited, unknown
from ftlight.utils.paths import user_path

# Averaging the two beat either alone on intents, news, reviews and emotions.
TEMPLATES = ("{}", "This text is about {}.")


def clean(name: str) -> str:
    """Turns a label name into words: separators become spaces, camel case and capitals are undone.

    >>> [clean(n) for n in ("card_arrival", "Sci/Tech", "__label__getRefund", "CANCEL_ORDER")]
    ['card arrival', 'Sci Tech', 'get Refund', 'cancel order']
    >>> [clean(n) for n in ("lost or stolen card", "FAQ")]
    ['lost or stolen card', 'FAQ']
    """
    words = name.strip().removeprefix("__label__")
    if not re.search(r"\s", words):  # a name with spaces is already readable
        words = re.sub(r"(?<=[a-z]{2})(?=[A-Z])", " ", words)
        words = re.sub(r"(?<=\w)[-./:+]+(?=\w)", " ", words)
    words = re.sub(r"[_\s]+", " ", words).strip()
    return words.lower() if words.isupper() and len(words) > 4 else words


def descriptions(given: Any, labels: Sequence[str]) -> dict[str, str]:
    """Checks descriptions of labels.

    Args:
        given: A mapping from label to text, a YAML or JSON file with one, or None.
        labels: The labels there are.

    Returns:
        Label to text.

    Raises:
        UserError: It is no such mapping, or names a label that does not exist.
    """
    where = "model.label_descriptions"
    if given is None:
        return {}
    if isinstance(given, str):
        where, given = given, _read_mapping(user_path(given, where))
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise UserError(f"{where}: expected a mapping from label to text, got {kind}")
    described = {str(label): text for label, text in given.items()}
    for label, text in described.items():
        if label not in labels:
            raise UserError(unknown(f"{where}: no label", label, labels, "labels"))
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{where}: {label}: expected a text, got {text!r}")
    return described


def _read_mapping(path: Path) -> Any:
    """Reads a YAML or JSON file with every value as text, so that a label NO stays NO."""
    if not path.is_file():
        raise UserError(
            f"model.label_descriptions: no file {path};"
            " give a mapping from label to text, or a YAML or JSON file with one"
        )
    return yaml_file.read_words(path)


def texts(
    labels: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
    described: Mapping[str, str] | None = None,
) -> list[list[str]]:
    """Returns the texts that stand for each label: its description, or its name in each template.

    Args:
        labels: Names of the labels.
        templates: Texts with ``{}`` in place of the name.
        described: Label to text, used unchanged.

    Returns:
        For each template, a text per label.

    Raises:
        UserError: A template lacks the place for the name, a name has no letters, or two labels
            have the same text.

    >>> texts(["late_parcel", "r2"], ["{}", "It is about a {}."], {"r2": "Please cancel it."})
    [['late parcel', 'Please cancel it.'], ['It is about a late parcel.', 'Please cancel it.']]
    """
    _check_templates(templates)
    described = described or {}
    hint = "describe them with model.label_descriptions: {label: text}"
    mute = [n for n in labels if n not in described and not any(c.isalpha() for c in n)]
    if mute:
        raise UserError(f"model.head_init: labels: {join_limited(mute)} have no letters; {hint}")
    names: dict[str, str] = {}
    for name in labels:
        text = described.get(name) or clean(name)
        if text in names:
            raise UserError(
                f"model.head_init: labels: {names[text]} and {name} both read {text!r}; {hint}"
            )
        names[text] = name

    def fill(template: str) -> list[str]:
        return [described.get(name) or template.replace("{}", text) for text, name in names.items()]

    return [fill(template) for template in templates]


def _check_templates(templates: Sequence[str]) -> None:
    if not templates:
        raise UserError(
            "model.label_template: the list is empty;"
            " give a text with {} in it, or leave the option out"
        )
    for template in templates:
        if template.count("{}") != 1:
            raise UserError(
                f"model.label_template: {template!r} must contain {{}} once, for the label name"
            )


def directions(vectors: Tensor) -> Tensor:
    """Returns the direction of each label: the mean over its texts, as CLIP averages prompts.

    Source: Radford et al. 2021, arXiv:2103.00020.

    Args:
        vectors: ``[templates, labels, width]``, of any length.

    Returns:
        ``[labels, width]``, of length 1.

    >>> directions(torch.tensor([[[2.0, 0.0]], [[0.0, 5.0]]]))
    tensor([[0.7071, 0.7071]])
    """
    return F.normalize(F.normalize(vectors, dim=-1).mean(0), dim=-1)


def contrastive(vectors: Tensor, targets: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss: pulls rows of one class together within a batch.

    Source: L_out of Khosla et al. 2020, arXiv:2004.11362, with the logarithm inside the sum.

    Args:
        vectors: ``[rows, width]``, of any length.
        targets: Class of each row, ``int64 [rows]``.
        temperature: Divides the cosines; the lower it is, the more the nearest rows count.

    Returns:
        Mean over the rows with another row of their class in the batch; 0 if there is none.
    """
    unit = F.normalize(vectors.float(), dim=-1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    cosines = (unit @ unit.T / temperature).masked_fill(itself, float("-inf"))
    alike = (targets[:, None] == targets) & ~itself
    log_shares = (cosines - cosines.logsumexp(1, keepdim=True)).masked_fill(~alike, 0.0)
    partners = alike.sum(1)
    paired = partners > 0
    if not paired.any():
        return vectors.sum() * 0.0  # DDP waits for a gradient even if the batch has no pairs
    return -(log_shares.sum(1)[paired] / partners[paired]).mean()
