"""Losses against sums written out by hand."""

from __future__ import annotations

import math

import numpy as np
import torch
from conftest import each
from torch import Tensor, nn

from ftlight.models.losses import Kind, Loss, divergence, mixed

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -2.0], [1.0, 1.5, 3.0]])
VALUES = torch.tensor([1.0, -2.0, 0.5])
TARGETS: dict[Kind, Tensor] = {
    "single": torch.tensor([0, 2, 1]),
    "multi": torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]),
    "regression": torch.tensor([0.5, 3.0, -1.0]),
}
ORDER = torch.tensor([1, 2, 0])


def row_loss(kind: Kind, outputs: list[float], target: list[float]) -> float:
    """The loss of a row, whose target is a share of each label, or a number."""
    if kind == "regression":
        return (outputs[0] - target[0]) ** 2
    if kind == "single":
        everyone = math.log(sum(math.exp(x) for x in outputs))
        return sum(t * (everyone - x) for x, t in zip(outputs, target, strict=True))
    odds = [1 / (1 + math.exp(-x)) for x in outputs]
    terms = [
        -t * math.log(p) - (1 - t) * math.log(1 - p) for p, t in zip(odds, target, strict=True)
    ]
    return sum(terms) / len(terms)


def test_mixup_is_the_loss_of_mixed_rows_with_mixed_targets() -> None:
    def check(kind: Kind, share: float) -> None:
        outputs = VALUES if kind == "regression" else LOGITS
        targets = TARGETS[kind]
        shares = nn.functional.one_hot(targets) if kind == "single" else targets
        x, t = (np.atleast_2d(a.numpy().T).T.astype(float) for a in (outputs, shares))
        wanted = [
            row_loss(
                kind,
                (share * x[i] + (1 - share) * x[j]).tolist(),
                (share * t[i] + (1 - share) * t[j]).tolist(),
            )
            for i, j in enumerate(ORDER.tolist())
        ]
        found = mixed(Loss(kind).of, outputs, targets, ORDER, share)
        assert math.isclose(found.item(), sum(wanted) / 3, rel_tol=1e-5)
        if share == 1:
            assert torch.equal(found, Loss(kind).of(outputs, targets))

    each([(kind, share) for kind in TARGETS for share in (0.0, 0.3, 1.0)], check)


def test_mixing_what_a_linear_head_gives_is_mixing_what_it_takes_in() -> None:
    head, vectors = nn.Linear(5, 3), torch.randn(3, 5, requires_grad=True)
    loss = Loss("single", weights=torch.tensor([1.0, 2.0, 3.0]), smoothing=0.1).of

    def slope(value: Tensor) -> Tensor:
        return torch.autograd.grad(value, vectors)[0]

    targets, share = TARGETS["single"], 0.7
    both = head(share * vectors + (1 - share) * vectors[ORDER])
    wanted = share * loss(both, targets) + (1 - share) * loss(both, targets[ORDER])
    found = mixed(loss, head(vectors), targets, ORDER, share)
    assert torch.allclose(found, wanted)
    assert torch.allclose(slope(found), slope(wanted), atol=1e-6)


def test_the_difference_of_two_passes_is_the_mean_of_both_divergences() -> None:
    other = LOGITS.flip(0) * 0.5
    p, q = (x.double().softmax(-1) for x in (LOGITS, other))
    wanted = ((p * (p / q).log()).sum(-1) + (q * (q / p).log()).sum(-1)).mean() / 2
    assert math.isclose(divergence(LOGITS, other).item(), wanted.item(), rel_tol=1e-5)
    p, q = (x.double().sigmoid() for x in (LOGITS, other))
    one = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    back = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    found = divergence(LOGITS, other, several=True).item()
    assert math.isclose(found, ((one + back) / 2).mean().item(), rel_tol=1e-5)
