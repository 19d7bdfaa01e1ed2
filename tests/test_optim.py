from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from ftlight import optim
from ftlight.backbone import Pooled
from ftlight.layers import layer_groups, layer_stack

FORMS: tuple[optim.Shape, ...] = ("linear", "cosine", "constant")
SIZES = {"vocab_size": 50, "num_labels": 3, "pad_token_id": 0}
USUAL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32}
DECODER = {**USUAL, "num_key_value_heads": 1, "head_dim": 8}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": USUAL,
    "roberta": USUAL,
    "xlm-roberta": USUAL,
    "distilbert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 32},
    "electra": {**USUAL, "embedding_size": 8},
    "mpnet": USUAL,
    "deberta": {**USUAL, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {**USUAL, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "norm_rel_ebd": "layer_norm"},
    "albert": {**USUAL, "embedding_size": 8},
    "camembert": USUAL,
    "modernbert": USUAL,
    "xlnet": {"d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 32},
    "gpt2": {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32},
    "gpt_neox": USUAL,
    "opt": {**{k: v for k, v in USUAL.items() if k != "intermediate_size"}, "ffn_dim": 32, "word_embed_proj_dim": 16},
    "bloom": {"hidden_size": 16, "n_layer": 3, "n_head": 2},
    "llama": DECODER,
    "mistral": DECODER,
    "qwen2": {k: v for k, v in DECODER.items() if k != "head_dim"},
    "qwen3": DECODER,
    "gemma": DECODER,
    "phi": {k: v for k, v in DECODER.items() if k != "head_dim"},
}
POOLED = ("bert", "roberta", "mpnet", "distilbert", "deberta-v2", "albert", "modernbert", "xlnet", "gpt2", "llama", "qwen3")


def build(family: str, auto: Any = AutoModelForSequenceClassification) -> Any:
    return auto.from_config(AutoConfig.for_model(family, **SIZES, **FAMILIES[family]))


# The shape of the schedule


@pytest.mark.parametrize("warmup", [0.0, 0.06, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("total", [1, 2, 7, 100, 997])
@pytest.mark.parametrize("form", FORMS)
def test_shape(form: optim.Shape, total: int, warmup: float) -> None:
    values = [optim.shape(step, total, warmup, form) for step in range(total)]
    assert all(0 < v <= 1 for v in values)
    assert max(values) == 1
    top = values.index(1.0)
    assert abs(top + 1 - max(1, total * warmup)) <= 1
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)
    if form == "constant":
        assert set(values[top:]) == {1.0}


@pytest.mark.parametrize("form", FORMS)
def test_no_warm_up_starts_at_the_top(form: optim.Shape) -> None:
    assert optim.shape(0, 100, 0.0, form) == 1


@pytest.mark.parametrize("form", FORMS)
def test_warm_up_all_along_never_falls(form: optim.Shape) -> None:
    assert [optim.shape(s, 4, 1.0, form) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("form", FORMS)
def test_steps_after_the_last_are_neither_negative_nor_above_one(form: optim.Shape, warmup: float) -> None:
    after = [optim.shape(step, 20, warmup, form) for step in (20, 21, 1000)]
    assert after == ([1.0] * 3 if form == "constant" else [0.0] * 3)


def test_linear_and_cosine() -> None:
    assert [optim.shape(s, 4, 0.0, "linear") for s in range(4)] == [1, 0.75, 0.5, 0.25]
    assert [optim.shape(s, 4, 0.0, "cosine") for s in range(4)] == pytest.approx([(1 + math.cos(math.pi * s / 4)) / 2 for s in range(4)])


# Learning rate and groups


@pytest.mark.parametrize(
    ("width", "lr"), [(384, 1e-4), (768, 5e-5), (1024, 3.75e-5), (128, 3e-4), (16, 3e-4), (4096, 1e-5), (100_000, 1e-5)]
)
def test_default_lr(width: int, lr: float) -> None:
    assert optim.default_lr(width) == pytest.approx(lr, abs=1e-7)


def test_default_lr_falls_with_the_width() -> None:
    rates = [optim.default_lr(width) for width in range(8, 8192, 8)]
    assert rates == sorted(rates, reverse=True)
    assert (max(rates), min(rates)) == (3e-4, 1e-5)


@pytest.mark.parametrize("layer_decay", [1.0, 0.9, 0.5])
@pytest.mark.parametrize("family", ["bert", "modernbert", "albert", "gpt2", "llama"])
def test_groups(family: str, layer_decay: float) -> None:
    model = build(family)
    layers = layer_groups(model)
    made = optim.groups(model, layers, 1e-3, 0.01, layer_decay)
    seen = [id(p) for group in made for p in group["params"]]
    assert len(seen) == len(set(seen))
    assert set(seen) == {id(p) for p in model.parameters()}

    names = {id(p): n for n, p in model.named_parameters()}
    decayed = {names[id(p)] for group in made if group["weight_decay"] > 0 for p in group["params"]}
    assert {group["weight_decay"] for group in made} == {0.0, 0.01}
    assert not any(n.endswith("bias") or "norm" in n.lower() or ".ln_" in n for n in decayed)
    assert {n for n, p in model.named_parameters() if p.ndim >= 2} == decayed

    depth = {layer: i for i, layer in enumerate(reversed(layers))}
    for group in made:
        layer = group["name"].removesuffix(", no decay")
        assert group["lr"] == group["base_lr"] == pytest.approx(1e-3 * layer_decay ** depth[layer])
        assert {names[id(p)] for p in group["params"]} <= set(layers[layer])
        assert group["name"].endswith(", no decay") == (group["weight_decay"] == 0)
    assert list(dict.fromkeys(g["name"].removesuffix(", no decay") for g in made)) == list(layers)
    assert made[-1]["base_lr"] == 1e-3
    assert [g["base_lr"] for g in made] == sorted(g["base_lr"] for g in made)


def test_groups_of_a_small_module() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1, bias=False))
    made = optim.groups(model, {"low": ["0.weight", "0.bias", "1.weight", "1.bias"], "high": ["2.weight"]}, 0.1, 0.05, 0.5)
    assert [(g["name"], g["base_lr"], g["weight_decay"], [tuple(p.shape) for p in g["params"]]) for g in made] == [
        ("low, no decay", 0.05, 0.0, [(3,), (3,), (3,)]),
        ("low", 0.05, 0.05, [(3, 2)]),
        ("high", 0.1, 0.05, [(1, 3)]),
    ]


def test_biases_of_more_than_one_dimension_do_not_decay() -> None:
    model = build("xlnet")
    made = optim.groups(model, layer_groups(model), 1e-3, 0.01, 1.0)
    names = {id(p): n for n, p in model.named_parameters()}
    assert not [names[id(p)] for g in made if g["weight_decay"] for p in g["params"] if names[id(p)].endswith("bias")]


def test_optimizer_takes_the_groups() -> None:
    model = build("distilbert")
    optimizer = torch.optim.AdamW(optim.groups(model, layer_groups(model), 1e-3, 0.01, 0.9))
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(model.parameters()))


# Layers


def check_layers(model: nn.Module, tokens: nn.Module, layers: int) -> dict[str, list[str]]:
    groups = layer_groups(model)
    names = [n for n, _ in model.named_parameters()]
    assert sorted(n for members in groups.values() for n in members) == sorted(names)
    assert [g for g in groups if g.startswith("layer ")] == [f"layer {i}" for i in range(layers)]
    assert [g for g in groups if g != "post"] == ["embeddings", *(f"layer {i}" for i in range(layers)), "head"]
    table = next(n for n, p in model.named_parameters() if p is tokens.weight)
    assert table in groups["embeddings"]
    depth = stack_depth(model)
    contents = [sorted(n.split(".", depth)[-1] for n in groups[f"layer {i}"]) for i in range(layers)]
    assert all(c == contents[-1] for c in contents[1:])  # the first may lack a norm (ModernBERT)
    return groups


def stack_depth(model: nn.Module) -> int:
    """Parts of a parameter's name up to and with the number of its layer."""
    base = getattr(model, "base_model", model)
    stack = layer_stack(base)
    assert stack is not None
    full = next(n for n, m in model.named_modules() if m is stack[1])
    return full.count(".") + 2


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_of_a_classifier(family: str) -> None:
    model = build(family)
    layers = 1 if family == "albert" else model.config.num_hidden_layers  # ALBERT shares one
    assert layers == (1 if family == "albert" else 3)
    groups = check_layers(model, model.get_input_embeddings(), layers)
    outside = {n for n, _ in model.named_parameters() if not n.startswith(f"{model.base_model_prefix}.")}
    assert outside <= set(groups["head"])
    assert any(part in n.split(".") for n in groups["head"] for part in ("classifier", "score", "logits_proj"))
    pooler = {n for n, _ in model.named_parameters() if "pooler" in n.split(".")}
    assert pooler <= set(groups["head"])
    assert set(groups["head"]) == outside | pooler


@pytest.mark.parametrize("family", POOLED)
def test_layers_of_a_pooled_backbone(family: str) -> None:
    model = Pooled(build(family, AutoModel), "mean", 3)
    groups = check_layers(model, model.model.get_input_embeddings(), 1 if family == "albert" else 3)
    assert groups["head"] == ["head.weight", "head.bias"]
    assert not any("pooler" in n.split(".") for members in groups.values() for n in members)


@pytest.mark.parametrize(
    ("family", "post"),
    [
        ("bert", None),
        ("llama", ["model.norm.weight"]),
        ("gpt2", ["transformer.ln_f.weight", "transformer.ln_f.bias"]),
        ("modernbert", ["model.final_norm.weight"]),
        ("mpnet", ["mpnet.encoder.relative_attention_bias.weight"]),
    ],
)
def test_what_comes_after_the_layers(family: str, post: list[str] | None) -> None:
    assert layer_groups(build(family)).get("post") == post


def test_layers_of_a_bare_backbone() -> None:
    model = build("bert", AutoModel)
    groups = layer_groups(model)
    assert list(groups) == ["embeddings", "layer 0", "layer 1", "layer 2", "head"]
    assert groups["head"] == ["pooler.dense.weight", "pooler.dense.bias"]
    stack = layer_stack(model)
    assert stack is not None
    assert stack[0] == "encoder.layer"
    assert len(stack[1]) == 3


def test_a_model_without_layers() -> None:
    model = nn.Linear(2, 3)
    assert layer_stack(model) is None
    assert layer_groups(model) == {"embeddings": ["weight", "bias"]}


def test_tied_weights_stand_once() -> None:
    model = nn.Module()
    model.embed = nn.Embedding(5, 4)
    model.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    model.out = nn.Linear(4, 5, bias=False)
    model.out.weight = model.embed.weight
    assert layer_groups(model) == {
        "embeddings": ["embed.weight"],
        "layer 0": ["blocks.0.weight", "blocks.0.bias"],
        "layer 1": ["blocks.1.weight", "blocks.1.bias"],
    }


def test_stack_is_not_a_larger_list_of_something_else() -> None:
    config = AutoConfig.for_model("bert", **SIZES, **USUAL)
    model = AutoModel.from_config(config)
    model.experts = nn.ModuleList(nn.Linear(100, 100) for _ in range(5))
    stack = layer_stack(model)
    assert stack is not None
    assert stack[0] == "encoder.layer"
