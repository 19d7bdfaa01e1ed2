from __future__ import annotations

import itertools
import types
from typing import Any

import pytest
import torch
from conftest import each
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from ftlight.models.layers import layer_groups
from ftlight.training import optim

SIZES = {"vocab_size": 50, "num_labels": 3, "pad_token_id": 0}
USUAL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": USUAL,
    "modernbert": USUAL,
    "albert": {**USUAL, "embedding_size": 8},
    "xlnet": {"d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 32},
    "gpt2": {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32},
    "llama": {**USUAL, "num_key_value_heads": 1, "head_dim": 8},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2},
}


def build(family: str) -> Any:
    return AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(family, **SIZES, **FAMILIES[family])
    )


def trainer(
    batches: float = 10, accumulate: int = 1, epochs: int | None = 2, steps: int = -1
) -> Any:
    return types.SimpleNamespace(
        num_training_batches=batches,
        accumulate_grad_batches=accumulate,
        max_epochs=epochs,
        max_steps=steps,
    )


# Rate and steps


RATES = [
    (384, 1e-4),
    (768, 5e-5),
    (1024, 3.75e-5),
    (128, 3e-4),
    (16, 3e-4),
    (4096, 1e-5),
    (100_000, 1e-5),
]


def test_default_lr() -> None:
    def check(width: int, lr: float) -> None:
        assert optim.default_lr(width) == pytest.approx(lr, abs=1e-7)

    each(RATES, check)


def test_default_lr_falls_with_the_width() -> None:
    rates = [optim.default_lr(width) for width in range(8, 8192, 8)]
    assert rates == sorted(rates, reverse=True)
    assert (max(rates), min(rates)) == (3e-4, 1e-5)


def test_the_last_batches_of_an_epoch_make_a_step_too() -> None:
    def check(batches: int, accumulate: int) -> None:
        steps = 0
        for batch in range(batches):
            steps += (batch + 1) % accumulate == 0 or batch + 1 == batches
        assert optim.steps_per_epoch(trainer(batches, accumulate)) == steps

    each(itertools.product(range(1, 13), (1, 2, 3, 5, 20)), check)


TOTALS = [
    (3, -1, 15),
    (3, 7, 7),
    (3, 15, 15),
    (3, 100, 15),
    (None, 7, 7),
    (-1, 7, 7),
    (None, -1, 0),
    (-1, -1, 0),
]


def test_total_steps() -> None:
    def check(epochs: int | None, steps: int, total: int) -> None:
        assert optim.total_steps(trainer(10, 2, epochs, steps)) == total

    each(TOTALS, check)


def test_total_steps_do_not_ask_for_batches_where_steps_alone_limit() -> None:
    assert optim.total_steps(trainer(float("inf"), 1, -1, 50)) == 50


# Groups


def test_groups_of_all_families() -> None:
    each(FAMILIES, check_groups)


def check_groups(family: str) -> None:
    model = build(family)
    layers = layer_groups(model)
    made = optim.groups(model, layers, 0.01)
    names = {id(p): n for n, p in model.named_parameters()}
    seen = [names[id(p)] for group in made for p in group["params"]]
    assert sorted(seen) == sorted(names.values())
    assert len({g["name"] for g in made}) == len(made)
    assert all(g["params"] for g in made)

    assert list(dict.fromkeys(g["layer"] for g in made)) == list(layers)
    above = {layer: len(list(layers)[i + 1 :]) for i, layer in enumerate(layers)}
    for group in made:
        layer = group["layer"]
        members = {names[id(p)] for p in group["params"]}
        assert members <= set(layers[layer])
        assert group["depth"] == above[layer]
        assert group["lr"] == 0
        assert group["weight_decay"] in (0.0, 0.01)
        assert group["name"] == (layer if group["weight_decay"] else f"{layer}, no decay")
    assert made[-1]["depth"] == 0

    decayed = {names[id(p)] for group in made if group["weight_decay"] for p in group["params"]}
    assert decayed
    assert decayed == {
        n for n, p in model.named_parameters() if p.ndim >= 2 and not n.endswith("bias")
    }
    norms = [m for m in model.modules() if "Norm" in type(m).__name__ and not list(m.children())]
    assert norms
    assert not decayed & {names[id(p)] for m in norms for p in m.parameters()}


def test_groups_of_a_small_module() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1, bias=False))
    made = optim.groups(
        model, {"low": ["0.weight", "0.bias", "1.weight", "1.bias"], "high": ["2.weight"]}, 0.05
    )
    plain = [{**g, "params": [tuple(p.shape) for p in g["params"]]} for g in made]
    assert sorted(plain, key=lambda g: g["name"]) == [
        {
            "params": [(1, 3)],
            "name": "high",
            "layer": "high",
            "depth": 0,
            "lr": 0.0,
            "weight_decay": 0.05,
        },
        {
            "params": [(3, 2)],
            "name": "low",
            "layer": "low",
            "depth": 1,
            "lr": 0.0,
            "weight_decay": 0.05,
        },
        {
            "params": [(3,), (3,), (3,)],
            "name": "low, no decay",
            "layer": "low",
            "depth": 1,
            "lr": 0.0,
            "weight_decay": 0.0,
        },
    ]


def test_biases_of_more_than_one_dimension_do_not_decay() -> None:
    model = build("xlnet")
    wide = {n for n, p in model.named_parameters() if n.endswith("bias") and p.ndim > 1}
    assert wide
    names = {id(p): n for n, p in model.named_parameters()}
    spared = {
        names[id(p)]
        for g in optim.groups(model, layer_groups(model), 0.01)
        if not g["weight_decay"]
        for p in g["params"]
    }
    assert wide <= spared


def test_frozen_parameters_are_in_the_groups() -> None:
    model = build("bert").requires_grad_(False)
    assert sum(len(g["params"]) for g in optim.groups(model, layer_groups(model), 0.01)) == len(
        list(model.parameters())
    )


def test_no_weight_decay() -> None:
    model = build("bert")
    assert {g["weight_decay"] for g in optim.groups(model, layer_groups(model), 0.0)} == {0.0}
    assert len({g["name"] for g in optim.groups(model, layer_groups(model), 0.0)}) == len(
        optim.groups(model, layer_groups(model), 0.01)
    )


def test_optimizer_takes_the_groups_and_does_not_move_at_rate_0() -> None:
    model = build("bert")
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW(optim.groups(model, layer_groups(model), 0.5))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    assert not any(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("most", [0.5, 100.0])
def test_a_fused_optimizer_clips_as_a_pass_over_the_gradients_does(most: float) -> None:
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.ones(4, 3))]
    grad = torch.randn(4, 3)
    fused, plain = (
        torch.optim.SGD([w], lr=0.1, fused=fused)
        for w, fused in zip(weights, (True, False), strict=True)
    )
    for weight, optimizer in zip(weights, (fused, plain), strict=True):
        weight.grad = grad.clone()
        if not optim.clip_in_optimizer(optimizer, grad.norm(), most):
            nn.utils.clip_grads_with_norm_([weight], most, grad.norm())
        optimizer.step()
    torch.testing.assert_close(*weights)
    assert optim.clip_in_optimizer(fused, grad.norm(), 0.0)
    assert fused.grad_scale is None  # nothing is left of a step that was clipped
