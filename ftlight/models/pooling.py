"""Backbones whose token states are pooled into one vector, without a head or with one."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftlight.models.loading import backbone_file, hidden_size
from ftlight.models.places import read_json
from ftlight.utils.errors import UserError

POOLING = "1_Pooling/config.json"
Pooling = Literal["auto", "native", "mean", "cls", "last", "max"]
# Pooling to the word that sentence-transformers has for it.
WORDS: dict[Pooling, str] = {
    "mean": "mean_tokens",
    "cls": "cls_token",
    "max": "max_tokens",
    "last": "lasttoken",
}


def trained_pooling(name: str) -> Pooling:
    """How a sentence encoder was pooled when it was trained; ``native`` for other backbones."""
    path = backbone_file(name, POOLING)
    if path is None:
        _check_modules(name)
        return "native"
    config = read_json(path, {"pooling_mode": (str, None)})
    for pooling, word in WORDS.items():  # current files have one word, older ones a flag for each
        if config.get("pooling_mode") == word.partition("_")[0]:
            return pooling
    return next((p for p, word in WORDS.items() if config.get(f"pooling_mode_{word}")), "mean")


def _check_modules(name: str) -> None:
    """Says so if a sentence encoder has lost the file that says how it was pooled.

    Raises:
        UserError: its list of modules has a pooling, and that file is not there.
    """
    path = backbone_file(name, "modules.json")
    modules = read_json(path, [{"type": str, "path": str}]) if path is not None else []
    if any(str(module.get("type")).endswith(".Pooling") for module in modules):
        raise UserError(
            f"model.backbone: {name} has no {POOLING}, which its modules.json names;"
            " get it again, or set model.pooling"
        )


def pool(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Pools token states over the real tokens.

    Args:
        states: ``[rows, tokens, width]``.
        mask: ``[rows, tokens]``, 1 for a real token, 0 for padding.
        pooling: mean, cls, last or max.

    Returns:
        ``[rows, width]``.

    >>> pool(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]), "mean")
    tensor([[2.]])
    """
    real = mask.unsqueeze(-1).to(states.dtype)
    if pooling == "mean":
        return (states * real).sum(1) / real.sum(1).clamp(min=1)
    if pooling == "max":
        return states.masked_fill(real == 0, torch.finfo(states.dtype).min).amax(1)
    positions = torch.arange(mask.shape[1], device=mask.device)
    at = (positions * mask).argmax(1) if pooling == "last" else mask.argmax(1)
    return states[torch.arange(len(states), device=states.device), at]


def drop_pooler(model: Any) -> None:
    """Removes a pooler that is not used: DDP would wait for its gradients."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None


class Encoder(nn.Module):
    """A backbone whose token states are pooled into one vector.

    Args:
        model: the backbone, giving ``last_hidden_state [rows, tokens, width]``.
        pooling: mean, cls (first token), last (last real token) or max, over real tokens only.
        scale: length that vectors are brought to. Default: as they are.
    """

    def __init__(self, model: nn.Module, pooling: Pooling, *, scale: float | None = None) -> None:
        super().__init__()
        drop_pooler(model)
        self.model, self.pooling, self.scale = model, pooling, scale

    @property
    def base_model(self) -> nn.Module:
        """The backbone."""
        return self.model

    def extra_repr(self) -> str:
        """The pooling."""
        return f"pooling={self.pooling}" + (f", scale={self.scale:g}" if self.scale else "")

    def forward(self, **inputs: Tensor) -> Any:
        """Returns vectors ``[rows, width]``, in fp32 if they are brought to a length."""
        states = self.model(**inputs).last_hidden_state
        vectors = pool(states, inputs["attention_mask"], self.pooling)
        return F.normalize(vectors.float(), dim=-1) * self.scale if self.scale else vectors


class Pooled(Encoder):
    """A backbone whose token states are pooled into one vector, with a linear head.

    Args:
        model: the backbone, giving ``last_hidden_state [rows, tokens, width]``.
        pooling: mean, cls (first token), last (last real token) or max, over real tokens only.
        outputs: numbers that the head gives per row.
        dropout: share of the vector to drop before the head in training.
        scale: length that vectors are brought to before the head, so that only directions count.
            Default: as they are.
    """

    def __init__(
        self,
        model: nn.Module,
        pooling: Pooling,
        outputs: int,
        dropout: float = 0.1,
        scale: float | None = None,
    ) -> None:
        super().__init__(model, pooling, scale=scale)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size(model.config), outputs)

    def forward(self, **inputs: Tensor) -> Any:
        """Returns ``logits [rows, outputs]``, and what the head saw ``[rows, width]``.

        The latter is the only one of the output's ``hidden_states``.
        """
        from transformers.modeling_outputs import SequenceClassifierOutput

        vectors = super().forward(**inputs)
        if self.scale:
            vectors = vectors.to(self.head.weight.dtype)
        seen = self.dropout(vectors)
        return SequenceClassifierOutput(logits=self.head(seen), hidden_states=(seen,))
