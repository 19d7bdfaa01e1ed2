"""The search for a depth as plain values, and the copy that takes its steps back."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ftlight.freezing import auto, copies
from ftlight.freezing.auto import Search, depths, trial_steps
from ftlight.training.precision import MasterAdamW

BERT = ["embeddings", *(f"layer {i}" for i in range(12)), "post", "head"]


def follow(gains: list[float], count: int, left: int = 10_000, per_epoch: int = 200) -> Search:
    """A search in which each depth changes this share of 1,000 rows for the better."""
    search, step, best = Search(count, scores=rows(0.0)), 0, 0.0
    search.advance(0, left, per_epoch)
    for gain in gains:
        assert not search.over
        if search.best:
            assert search.judge(rows(best)) is None  # the control
            assert search.pending == "control"
            search.advance(step, left, per_epoch)
        assert not search.is_due(step + search.steps - 1)
        assert search.is_due(step + search.steps)
        found = search.judge(rows(best + gain))
        assert found is not None
        assert not search.is_due(step + search.steps)  # it is decided
        if search.pending == "kept" or search.best:
            step, left = step + search.steps, left - search.steps
        best += gain if search.pending == "kept" else 0
        search.advance(step, left, per_epoch)
    return search


def rows(share: float) -> np.ndarray:
    """Scores of 1,000 rows, of which this share is right."""
    return (np.arange(1000) < 500 + 1000 * share).astype(float)


def test_depths_are_quarters_and_then_the_embeddings() -> None:
    assert depths(BERT) == ["last:3", "last:6", "last:9", "last:12", "all"]
    assert depths(["embeddings", "layer 0", "layer 1", "head"]) == ["last:1", "last:2", "all"]
    assert depths(["layer 0", "head"]) == ["last:1"]
    assert depths(["embeddings", "head"]) == ["all"]


def test_two_depths_in_a_row_without_a_gain_end_the_search() -> None:
    found = follow([0.05, -0.01, 0.0], 6)
    assert (found.over, found.best, found.stage, found.misses) == (True, 1, 1, 2)
    found = follow([0.05, -0.01, 0.02, -0.01, -0.01], 6)
    assert (found.over, found.best, found.stage) == (True, 3, 3)
    assert [int(stage) for stage, *_ in found.compared] == [1, 2, 3, 4, 5]


def test_a_depth_that_is_not_surely_better_is_not_kept() -> None:
    search = Search(3, stage=1, depth=1, steps=50, scores=rows(0.0))
    swapped = rows(0.0)
    swapped[:30], swapped[-31:] = 0, 1  # 30 rows lost, 31 won
    found = search.judge(swapped)
    assert found is not None
    assert 0.5 < found.better < auto.SURE
    assert (search.pending, search.best, search.misses) == ("lost", 0, 1)
    assert np.array_equal(search.scores, rows(0.0))


def test_the_last_depth_may_be_the_best() -> None:
    found = follow([0.05] * 5, 6)
    assert (found.over, found.best, found.stage, found.steps) == (True, 5, 5, 0)


def test_nothing_is_tried_if_too_little_would_be_left() -> None:
    steps = trial_steps(200)
    assert follow([], 6, left=2 * steps - 1).over
    found = follow([0.05], 6, left=3 * steps - 1)
    assert (found.over, found.best) == (True, 1)


def test_a_search_goes_through_a_checkpoint() -> None:
    search = follow([0.05, -0.01], 6)
    state = json.loads(json.dumps(search.state_dict()))
    again = Search.from_state(state)
    assert np.array_equal(again.scores, search.scores)
    again.scores = search.scores
    assert again == search


class Two(nn.Module):
    """Two layers, and a count as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return self.b(self.a(x).tanh())


def train(model: Two, optimizer: torch.optim.Optimizer, seed: int, both: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(3):
        inputs = torch.randn(8, 4, generator=generator, dtype=torch.float)
        for parameter in model.a.parameters():
            parameter.requires_grad_(both)
        optimizer.zero_grad()
        model(inputs.to(model.a.weight.dtype)).float().square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", ["adamw", "fused", "sgd", "master", "bf16 master"])
def test_steps_that_are_taken_back_leave_no_trace(kind: str) -> None:
    def made() -> tuple[Two, torch.optim.Optimizer]:
        model = Two().bfloat16() if kind.startswith("bf16") else Two()
        parameters = list(model.parameters())
        if kind.endswith("master"):
            return model, MasterAdamW(parameters, lr=0.1)
        if kind == "sgd":
            return model, torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
        return model, torch.optim.AdamW(parameters, lr=0.1, fused=kind == "fused")

    (plain, its), (tried, other) = made(), made()
    for model, optimizer in ((plain, its), (tried, other)):
        train(model, optimizer, 1, both=False)
    kept = copies.take(tried, {name for name, _ in tried.named_parameters()}, other)
    before = copy.deepcopy(kept)
    train(tried, other, 2, both=True)
    assert not torch.equal(tried.a.weight, plain.a.weight)
    copies.put_back(kept, tried, other)
    assert other.state.get(tried.a.weight, {}) == {}
    for model, optimizer in ((plain, its), (tried, other)):
        train(model, optimizer, 3, both=True)
    for (name, value), (_, twin) in zip(
        plain.state_dict().items(), tried.state_dict().items(), strict=True
    ):
        assert torch.equal(value, twin), name
    for name, value in before["weights"].items():  # the copy itself is not trained on
        assert torch.equal(kept["weights"][name], value)
