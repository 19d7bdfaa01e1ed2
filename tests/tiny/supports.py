"""What a model holds of answers, and whether gradients reach its words; for tests of any task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ftlight import Predictor
from ftlight.explain.support import batches, supports
from ftlight.metrics.evaluation import Asked
from ftlight.metrics.sureness import NONE, Calibration

Rows = Sequence[Mapping[str, Any]]
HOT = Calibration(2.5, 100, False, None, None, None, NONE, NONE, NONE)


def asked_of(model: Predictor, rows: Rows) -> list[list[Asked]]:
    """What can be asked of the prediction of each row."""
    return [model.task.asked(answer) for answer in model.predict([dict(row) for row in rows])]


def support_of(model: Predictor, rows: Rows, asked: Sequence[Asked]) -> torch.Tensor:
    """Support of the rows, all of which can be read."""
    return torch.tensor(supports(model, [dict(row) for row in rows], asked))


def reaches_words(model: Predictor, rows: Rows, asked: Sequence[Asked]) -> bool:
    """Whether each row's own support has gradients at the embeddings of its tokens."""
    backbone: Any = model.task.model
    seen: list[torch.Tensor] = []

    def keep(module: Any, given: Any, output: torch.Tensor) -> None:
        output.requires_grad_().retain_grad()
        seen.append(output)

    hook = backbone.base_model.get_input_embeddings().register_forward_hook(keep)
    try:
        for batch, numbers in batches(model, [dict(row) for row in rows]):
            values = model.task.support(batch, [asked[number] for number in numbers])
            assert values.shape == (len(numbers),)
            torch.autograd.backward(values.sum())
    finally:
        hook.remove()
    found = [float(states.grad.abs().max()) for states in seen if states.grad is not None]
    return bool(found) and min(found) > 0
