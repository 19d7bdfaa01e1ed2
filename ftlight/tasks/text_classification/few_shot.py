"""Few rows or none: class vectors from the names of labels, and a loss that uses the pairs of a batch. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from ftlight.utils.errors import UserError, did_you_mean, join_limited

TEMPLATES = (
    "{}",
    "This text is about {}.",
)  # together better than either alone, on intents, news, reviews and emotions


def clean(name: str) -> str:
    """The words of a label's name: marks between words become spaces, run-together and shouted names are undone.

    >>> [clean(n) for n in ("card_arrival", "Sci/Tech", "__label__getRefund", "CANCEL_ORDER", "lost or stolen card", "FAQ")]
    ['card arrival', 'Sci Tech', 'get Refund', 'cancel order', 'lost or stolen card', 'FAQ']
    """
    words = name.strip().removeprefix("__label__")
    if not re.search(r"\s", words):  # a name with spaces is written for people already
        words = re.sub(r"(?<=[a-z]{2})(?=[A-Z])", " ", words)
        words = re.sub(r"(?<=\w)[-./:+]+(?=\w)", " ", words)
    words = re.sub(r"[_\s]+", " ", words).strip()
    return words.lower() if words.isupper() and len(words) > 4 else words


def descriptions(given: Any, labels: Sequence[str]) -> dict[str, str]:
    """Checked descriptions of labels: a mapping from label to text, or a YAML or JSON file of one.

    Raises:
        UserError: it is none, or names a label that does not exist.
    """
    where = "model.label_descriptions"
    if given is None:
        return {}
    if isinstance(given, str):
        path = Path(given).expanduser()
        if not path.is_file():
            raise UserError(
                f"{where}: no file {given}; give a mapping from label to text, or a YAML or JSON file of one"
            )
        where = str(path)
        try:
            given = yaml.load(
                path.read_text(encoding="utf-8"), yaml.BaseLoader
            )  # strings only: NO stays NO
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(
                f"{where}: neither YAML nor JSON in UTF-8 ({' '.join(str(error).split())})"
            ) from error
    if not isinstance(given, Mapping):
        raise UserError(
            f"{where}: expected a mapping from label to text, got {type(given).__name__}"
        )
    found = {str(k): v for k, v in given.items()}
    for label, text in found.items():
        if label not in labels:
            raise UserError(
                f"{where}: there is no label {label}{did_you_mean(label, labels)} (labels: {join_limited(labels)})"
            )
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{where}: {label}: expected a text, got {text!r}")
    return found


def texts(
    labels: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
    described: Mapping[str, str] | None = None,
) -> list[list[str]]:
    """What stands for each label: its description, else its cleaned name in each template.

    Args:
        labels: names of the labels.
        templates: texts with ``{}`` where the name goes.
        described: texts of labels, taken as they are.

    Returns:
        Texts by template and label.

    Raises:
        UserError: a template has no place for the name, a name has no words, or two labels have the same text.

    >>> texts(["late_parcel", "r2"], ["{}", "It is about a {}."], {"r2": "Please cancel it."})
    [['late parcel', 'Please cancel it.'], ['It is about a late parcel.', 'Please cancel it.']]
    """
    for template in templates:
        if template.count("{}") != 1:
            raise UserError(
                f"model.label_template: {template!r} has no place for the name, or several; write {{}} once"
            )
    if not templates:
        raise UserError(
            "model.label_template: the list is empty; give a text with {} in it, or leave the option out"
        )
    described = described or {}
    way = "say what they mean with model.label_descriptions: {label: text}"
    mute = [name for name in labels if name not in described and not any(c.isalpha() for c in name)]
    if mute:
        raise UserError(
            f"model.head_init: labels: {join_limited(mute)} have no words to start from; {way}"
        )
    found: dict[str, str] = {}
    for name in labels:
        text = described.get(name) or clean(name)
        if text in found:
            raise UserError(
                f"model.head_init: labels: {found[text]} and {name} both read {text!r}; {way}"
            )
        found[text] = name
    return [
        [described.get(n) or template.replace("{}", t) for t, n in found.items()]
        for template in templates
    ]


def directions(vectors: Tensor) -> Tensor:
    """The direction of each label: the mean of those of its texts, as prompts are averaged in CLIP (arXiv:2103.00020).

    Args:
        vectors: ``[templates, labels, width]``, of any length.

    Returns:
        ``[labels, width]``, of length 1.

    >>> directions(torch.tensor([[[2.0, 0.0]], [[0.0, 5.0]]]))
    tensor([[0.7071, 0.7071]])
    """
    return F.normalize(F.normalize(vectors, dim=-1).mean(0), dim=-1)


def contrastive(vectors: Tensor, targets: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss: rows of a class are to lie nearer to each other than to the rest of the batch.

    The loss that takes the logarithm of each pair by itself (L_out of Khosla et al. 2020, arXiv:2004.11362).

    Args:
        vectors: ``[rows, width]``, of any length.
        targets: class of each row, ``int64 [rows]``.
        temperature: divides the cosines; the lower, the more the nearest rows count.

    Returns:
        Mean over the rows that have another of their class in the batch; 0 where none has.
    """
    unit = F.normalize(vectors.float(), dim=-1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    cosines = (unit @ unit.T / temperature).masked_fill(itself, float("-inf"))
    alike = (targets[:, None] == targets) & ~itself
    log_shares = (cosines - cosines.logsumexp(1, keepdim=True)).masked_fill(~alike, 0.0)
    partners = alike.sum(1)
    paired = partners > 0
    if not paired.any():
        return (
            vectors.sum() * 0.0
        )  # a step without pairs has a gradient all the same, which DDP waits for
    return -(log_shares.sum(1)[paired] / partners[paired]).mean()
