"""Our attention and dropout give what torch's give, by the same law."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import each
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ftlight.models import kernels
from ftlight.utils.errors import UserError

USUAL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": USUAL,
    "distilbert": {
        "dim": 16,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 32,
        "max_position_embeddings": 32,
    },
    "modernbert": USUAL,
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32},
    "llama": {**USUAL, "num_key_value_heads": 2, "head_dim": 4},
}


# Dropout


def test_masks_keep_their_share_and_no_pattern() -> None:
    def check(share: float, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        mask = kernels.dropout_mask(torch.Size([1000, 1003]), share, dtype)
        assert mask.dtype == dtype
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        flat, error = mask.double().flatten(), math.sqrt(share * (1 - share) / mask.numel())
        assert abs(flat.mean() - (1 - share)) < 5 * error
        centred = (flat - flat.mean()) / flat.std()
        for apart in (1, 2, 3, 4, 8, 1003):  # four numbers are made of each draw
            assert abs((centred[apart:] * centred[:-apart]).mean()) < 5 / math.sqrt(len(flat))

    each(itertools.product([0.1, 0.5, 0.9], [torch.float32, torch.bfloat16]), check)


def test_masks_follow_the_seed() -> None:
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(kernels.dropout_mask(torch.Size([7, 5]), 0.3, torch.float32))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_dropout_scales_what_it_keeps_and_its_gradient() -> None:
    x = torch.randn(64, 33, requires_grad=True)
    drop = kernels.Dropout(0.25)
    made = drop(x)
    made.backward(torch.full_like(x, 2.0))
    mask = made.detach() / x.detach()
    torch.testing.assert_close(mask[mask != 0], torch.full_like(mask[mask != 0], 1 / 0.75))
    torch.testing.assert_close(x.grad, 2 * mask)


def test_dropout_of_nothing_and_of_all_is_torchs() -> None:
    def check(share: float) -> None:
        x = torch.randn(5, 4)
        assert torch.equal(kernels.Dropout(share)(x), nn.Dropout(share)(x))

    each([0.0, 1.0, 1e-9], check)


def test_dropout_is_nothing_in_evaluation() -> None:
    x = torch.randn(5, 4)
    assert kernels.Dropout(0.5).eval()(x) is x


# Attention


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        kernels, "SLOW", {torch.bfloat16, torch.float64}
    )  # float64 for a close look


def given(
    dtype: torch.dtype = torch.float64, heads: int = 4, few: int = 2, keys: int = 9
) -> list[Tensor]:
    torch.manual_seed(0)
    sizes = (5, heads, 9, 8), (5, few, keys, 8), (5, few, keys, 6)
    return [torch.randn(size, dtype=dtype, requires_grad=True) for size in sizes]


def layer(causal: bool, groups: int = 2) -> nn.Module:
    made = nn.Module()
    made.is_causal, made.num_key_value_groups = causal, groups
    return made


def padded(keys: int = 9) -> Tensor:
    return (torch.arange(keys) < torch.tensor([9, 4, 9, 2, 7])[:, None])[:, None, None]


MASKS = {
    "none": lambda keys: None,
    "padding": padded,
    "padding and order": lambda keys: padded(keys) & torch.ones(9, keys, dtype=torch.bool).tril(),
    "of each head": lambda keys: (
        torch.rand(5, 4, 9, keys, generator=torch.Generator().manual_seed(0)) < 0.7
    ),
    "numbers": lambda keys: torch.linspace(-1, 1, 4 * 9 * keys, dtype=torch.float64).view(
        1, 4, 9, keys
    ),
    "numbers without end": lambda keys: torch.zeros(5, 1, 1, keys, dtype=torch.float64).masked_fill(
        ~padded(keys), -math.inf
    ),
    "of two axes": lambda keys: torch.ones(9, keys, dtype=torch.bool).tril(),
}


def test_attention_and_its_gradients_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(chunk: int, keys: int, causal: bool, mask: str) -> None:
        monkeypatch.setattr(kernels, "CHUNK", chunk)
        found = []
        for attend in (kernels.attention_forward, sdpa_attention_forward):
            inputs = given(keys=keys)
            out, _ = attend(layer(causal), *inputs, MASKS[mask](keys), 0.0, None, None)
            out.backward(torch.arange(out.numel(), dtype=out.dtype).view_as(out).sin())
            found.append([out.detach(), *(t.grad for t in inputs)])
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)

    each(itertools.product([1 << 20, 700, 1], [9, 12], [False, True], MASKS), check)


def test_a_query_that_sees_nothing_does_no_harm() -> None:
    inputs = given()
    mask = padded().to(torch.float64).log().expand(5, 1, 9, 9).clone()
    mask[0, :, 0] = -math.inf
    out, _ = kernels.attention_forward(layer(False), *inputs, mask, 0.0, None, False)
    out[:, 1:].sum().backward()
    assert all(t.isfinite().all() for t in (out, *(t.grad for t in inputs)))


def test_what_torch_would_spread_over_rows_is_left_to_it() -> None:
    q, k, v = given()
    ours, theirs = (
        f(layer(False), q[:1], k, v, None, 0.0, None, False)[0]
        for f in (kernels.attention_forward, sdpa_attention_forward)
    )
    torch.testing.assert_close(ours, theirs)


def test_a_pass_that_is_repeated_drops_the_same() -> None:
    found = []
    for repeated in (False, True):
        inputs = given(torch.float32)

        def attend(*tensors: Tensor) -> Tensor:
            return kernels.attention_forward(layer(False), *tensors, None, 0.5, None, False)[0]

        torch.manual_seed(3)
        out = checkpoint(attend, *inputs, use_reentrant=True) if repeated else attend(*inputs)
        out.sum().backward()
        found.append([out, *(t.grad for t in inputs)])
    for once, twice in zip(*found, strict=True):
        torch.testing.assert_close(once, twice)


def test_gradients_are_those_of_the_weights_that_were_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(chunk: int) -> None:
        monkeypatch.setattr(kernels, "CHUNK", chunk)

        def attend(*inputs: Tensor) -> Tensor:
            torch.manual_seed(3)
            return kernels.attention_forward(layer(False, 1), *inputs, None, 0.3, None, False)[0]

        inputs = [
            torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(3)
        ]
        assert torch.autograd.gradcheck(attend, inputs)

    each([1 << 20, 20], check)  # all rows at a time, and one


def test_attention_that_drops_weights_is_right_on_average() -> None:
    inputs = given()
    whole, _ = sdpa_attention_forward(layer(False), *inputs, None)
    torch.manual_seed(0)
    many = [t.repeat(100, 1, 1, 1) for t in inputs]  # each row has weights of its own
    parts = [
        kernels.attention_forward(layer(False), *many, None, 0.2, None, False)[0].detach()
        for _ in range(20)
    ]
    drawn = torch.cat(parts).unflatten(0, (-1, len(whole)))
    apart = (drawn.mean(0) - whole).abs() / (drawn.std(0) / math.sqrt(len(drawn)))
    assert apart.max() < 5


def test_long_rows_keep_no_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(rows: int) -> None:
        kept: list[int] = []
        inputs = [torch.randn(rows, 2, 128, 4, requires_grad=True) for _ in range(3)]
        mask = torch.ones(rows, 1, 128, 128, dtype=torch.bool)
        monkeypatch.setattr(kernels, "CHUNK", 1 << 12)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: kept.append(t.data_ptr()) or t, lambda t: t
        ):
            kernels.attention_forward(layer(False, 1), *inputs, mask, 0.1, None, False)
        assert set(kept) == {
            t.data_ptr() for t in (*inputs, mask)
        }  # the mask is that of all layers

    each([1, 4], check)


def test_what_does_not_train_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(frozen: bool) -> None:
        monkeypatch.setattr(kernels, "_Attention", None)
        inputs = [t.detach() for t in given(torch.float32)] if frozen else given(torch.float32)
        with torch.set_grad_enabled(frozen):
            kernels.attention_forward(layer(False), *inputs, padded())

    each([False, True], check)


def test_short_rows_in_bfloat16_are_ours_without_gradients_too() -> None:
    inputs = [t.detach() for t in given(torch.bfloat16)]
    with torch.inference_mode():
        ours, theirs = (
            f(layer(False), *inputs, padded(), 0.0, None, None)[0]
            for f in (kernels.attention_forward, sdpa_attention_forward)
        )
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)


# Models


def test_a_model_is_the_same_with_our_kernels() -> None:
    def check(family: str) -> None:
        config = AutoConfig.for_model(family, vocab_size=50, pad_token_id=0, **FAMILIES[family])
        torch.manual_seed(0)
        model = AutoModel.from_config(config).double().eval()
        ids, mask = (
            torch.randint(1, 50, (3, 12)),
            (torch.arange(12) < torch.tensor([12, 7, 9])[:, None]).long(),
        )
        found = []
        for choice in ("stock", "auto"):
            kernels.use(model, choice)
            model.zero_grad()
            states = model(input_ids=ids, attention_mask=mask).last_hidden_state * mask[..., None]
            states.square().sum().backward()
            found.append(
                [states.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]
            )
        assert model.config._attn_implementation == kernels.NAME
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)

    each(FAMILIES, check)


def test_a_model_keeps_its_dropouts_and_a_name_of_its_own_is_not_written(
    bert: str, tmp_path: Path
) -> None:
    stock, ours = (
        AutoModel.from_pretrained(bert),
        kernels.use(AutoModel.from_pretrained(bert), "auto"),
    )
    found = {
        n: (m.p, m.training) for n, m in ours.named_modules() if isinstance(m, kernels.Dropout)
    }
    assert found == {
        n: (m.p, m.training) for n, m in stock.named_modules() if isinstance(m, nn.Dropout)
    }
    ours.save_pretrained(tmp_path)
    assert "ftlight" not in json.dumps(json.loads((tmp_path / "config.json").read_text()))


def test_stock_and_a_name_of_transformers(bert: str) -> None:
    model = kernels.use(AutoModel.from_pretrained(bert), "stock")
    assert model.config._attn_implementation == "sdpa"
    assert not any(isinstance(m, kernels.Dropout) for m in model.modules())
    assert kernels.use(model, "eager").config._attn_implementation == "eager"
    with pytest.raises(UserError, match=r"model\.kernels: .*nonsense"):
        kernels.use(model, "nonsense")


def test_a_model_that_asks_for_torchs_by_its_name_keeps_it() -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}
    model = kernels.use(AutoModel.from_config(AutoConfig.for_model("falcon", **sizes)), "auto")
    assert model.config._attn_implementation == "sdpa"


def test_a_model_without_attention_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    assert type(kernels.use(model, "auto")[1]) is kernels.Dropout
    with pytest.raises(UserError, match="Sequential has only one attention"):
        kernels.use(model, "flash_attention_2")
