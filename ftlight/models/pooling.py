"""Token states pooled into one vector, with a head or without."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftlight.models import pooling
from ftlight.models.loading import beside

log = logging.getLogger(__name__)


Pooling = Literal["auto", "native", "mean", "cls", "last", "max"]


def trained_pooling(name: str) -> Pooling:
    """How a sentence encoder was pooled when it was trained; ``native`` for any other backbone."""
    file = beside(name, "1_Pooling/config.json")
    if file is None:
        return "native"
    config = json.loads(Path(file).read_text())
    modes: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "max": "max", "lasttoken": "last"}
    if config.get("pooling_mode") in modes:
        return modes[config["pooling_mode"]]
    named = {
        f"pooling_mode_{k}{'_token' if k == 'cls' else '' if k == 'lasttoken' else '_tokens'}": v
        for k, v in modes.items()
    }
    return next((pooling for key, pooling in named.items() if config.get(key)), "mean")


class Pooled(nn.Module):
    """A backbone whose token states are pooled into one vector, with a linear head.

    Args:
        model: the backbone, giving ``last_hidden_state [rows, tokens, width]``.
        pooling: mean, cls (first token), last (last real token) or max, over real tokens only.
        outputs: numbers the head gives per row.
        dropout: share of the pooled vector dropped before the head in training.
        scale: length that the pooled vector is brought to before the head, so that directions alone count; as it is if not given.
    """

    def __init__(
        self,
        model: nn.Module,
        pooling: Pooling,
        outputs: int,
        dropout: float = 0.1,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # type: ignore[assignment]  # never used: DDP would wait for its gradient
        self.model, self.pooling, self.scale = model, pooling, scale
        self.dropout = nn.Dropout(dropout)
        text: Any = model.config.get_text_config()  # type: ignore[union-attr, operator]
        self.head = nn.Linear(getattr(text, "hidden_size", 0) or text.d_model, outputs)

    @property
    def base_model(self) -> nn.Module:
        """The backbone."""
        return self.model

    def extra_repr(self) -> str:
        """How it pools."""
        return f"pooling={self.pooling}" + (f", scale={self.scale:g}" if self.scale else "")

    def forward(self, **inputs: torch.Tensor) -> Any:
        """Returns an output with ``logits [rows, outputs]``, and as its one hidden state what the head saw, ``[rows, width]``."""
        from transformers.modeling_outputs import SequenceClassifierOutput

        states = self.model(**inputs).last_hidden_state
        vector = pool(states, inputs["attention_mask"], self.pooling)
        if self.scale:
            vector = (nn.functional.normalize(vector.float(), dim=-1) * self.scale).to(
                self.head.weight.dtype
            )
        seen = self.dropout(vector)
        return SequenceClassifierOutput(logits=self.head(seen), hidden_states=(seen,))


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
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


class Encoder(nn.Module):
    """A backbone whose token states are pooled into one vector of length 1.

    Args:
        model: the backbone, giving ``last_hidden_state [rows, tokens, width]``.
        pooling: mean, cls, last or max, over real tokens only.
    """

    def __init__(self, model: nn.Module, pooling: pooling.Pooling) -> None:
        super().__init__()
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # type: ignore[assignment]  # never used: DDP would wait for its gradient
        self.model, self.pooling = model, pooling

    @property
    def base_model(self) -> nn.Module:
        """The backbone."""
        return self.model

    def forward(self, **inputs: Tensor) -> Tensor:
        """Returns vectors ``float [rows, width]``."""
        states = self.model(**inputs).last_hidden_state
        return F.normalize(
            pooling.pool(states, inputs["attention_mask"], self.pooling).float(), dim=-1
        )
