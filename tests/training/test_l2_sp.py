from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import each
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy
from resuming import everything, run
from torch import nn

from ftlight import TextClassification
from ftlight.__main__ import main
from ftlight.models.layers import layer_groups
from ftlight.training.l2_sp import Pull, check
from ftlight.training.precision import MasterAdamW
from ftlight.utils.errors import UserError

STRENGTH = 20.0
RATES = [1e-3, 2e-3, 5e-3, 0.0, 1e-3, 0.2]  # the last would pull beyond the start
SKIPPED = 2  # a step with gradients that are not finite


def by_hand(start: np.ndarray, slopes: list[np.ndarray], skips: bool) -> np.ndarray:
    """Adam, and after each step a share of the way back."""
    weight, mean, square, count = start.copy(), 0 * start, 0 * start, 0
    for step, (rate, slope) in enumerate(zip(RATES, slopes, strict=True)):
        if skips and step == SKIPPED:
            continue
        count += 1
        mean = 0.9 * mean + 0.1 * slope
        square = 0.999 * square + 0.001 * slope**2
        size = np.sqrt(square / (1 - 0.999**count)) + 1e-8
        weight = weight - rate * mean / (1 - 0.9**count) / size
        weight = weight + min(rate * STRENGTH, 1) * (start - weight)
    return weight


def test_each_step_ends_with_a_share_of_the_way_back() -> None:
    def compare(kind: type[torch.optim.AdamW], options: dict[str, Any], stops: int) -> None:
        torch.manual_seed(0)
        weight, other = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.ones(2))
        if kind is MasterAdamW:
            weight = nn.Parameter(weight.detach().bfloat16())
        start = weight.detach().double().numpy().copy()
        slopes = [torch.randn(3, 4).to(weight) for _ in RATES]

        def begin() -> torch.optim.Optimizer:
            made = kind([weight, other], lr=0.0, weight_decay=0.0, **options)
            Pull(made, [weight], STRENGTH)
            return made

        optimizer = begin()
        skips = bool(options.get("fused")) or kind is MasterAdamW
        for step, rate in enumerate(RATES):
            if step == stops:  # goes on in another process
                state = optimizer.state_dict()
                optimizer = begin()
                optimizer.load_state_dict(state)
            optimizer.param_groups[0]["lr"] = rate
            weight.grad, other.grad = slopes[step], torch.zeros(2)
            if skips:
                optimizer.found_inf = torch.tensor(float(step == SKIPPED))  # type: ignore[attr-defined]
            optimizer.step()
        wanted = by_hand(start, [s.double().numpy() for s in slopes], skips)
        found = optimizer.state[weight].get("master", weight).detach().double().numpy()
        assert np.allclose(found, wanted, atol=1e-6)
        assert other.tolist() == [1, 1]  # nothing pulls it
        if kind is MasterAdamW:
            assert torch.equal(weight, optimizer.state[weight]["master"].bfloat16())

    kinds: list[tuple[type[torch.optim.AdamW], dict[str, Any]]] = [
        (torch.optim.AdamW, {"fused": True}),
        (torch.optim.AdamW, {"fused": False}),
        (MasterAdamW, {}),
    ]
    each([(*kind, stops) for kind in kinds for stops in (-1, 0, 3)], compare)


def test_a_weight_without_a_gradient_stays_where_it_is() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    Pull(optimizer, [weight], 1.0)
    optimizer.step()
    assert not optimizer.state
    assert weight.tolist() == [1, 1]


@pytest.mark.run
def test_a_run_keeps_its_backbone_near_its_start(
    bert: str, rows: dict[str, str], tmp_path: Path
) -> None:
    plain = {"weight_decay": 0.0, "lr": 3e-3, "unfreeze": "all"}

    def weights(name: str, **model: Any) -> dict[str, torch.Tensor]:
        run(bert, rows, tmp_path / name, {"model": {**plain, **model}})
        found: dict[str, torch.Tensor] = everything(tmp_path / name)["last"]["state_dict"]
        return found

    free, held = weights("free"), weights("held", l2_sp=100.0)
    task = TextClassification(bert, labels=["a", "b", "c"])
    start = task.state_dict()
    head = {f"model.{name}" for name in layer_groups(task.model)["head"]}
    body = [name for name in start if name not in head and start[name].is_floating_point()]

    def far(found: dict[str, torch.Tensor]) -> float:
        return sum(float((found[name] - start[name]).square().sum()) for name in body) ** 0.5

    assert 0 < far(held) < 0.5 * far(free)
    assert all(not torch.equal(held[name], start[name]) for name in head)
    assert main(["test", str(tmp_path / "held")]) == 0  # which loads no pre-trained weights


def test_what_has_no_start_or_weights_of_its_own_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.l2_sp: FSDPStrategy keeps weights of its own"):
        check(FSDPStrategy(), pretrained=True)
    with pytest.raises(UserError, match=r"model\.l2_sp: random weights"):
        check(DDPStrategy(), pretrained=False)
