"""Targets are standardised in float64, and their scale is folded into the last layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from conftest import each

from ftlight.models import scale
from ftlight.models.scale import Scale

SIZE = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
DEEP = {**SIZE, "num_hidden_layers": 2, "max_position_embeddings": 40, "pad_token_id": 1}
WIDE = {"d_model": 32, "num_heads": 2, "vocab_size": 50, "d_ff": 64, "eos_token_id": 3}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 40, "pad_token_id": 0}
NEOX = {**DEEP, "rotary_pct": 0.5}
BLOOM = {"hidden_size": 32, "n_layer": 2, "n_head": 2, "vocab_size": 50, "pad_token_id": 0}
OPT = {**DEEP, "ffn_dim": 64, "word_embed_proj_dim": 32}
BART = {
    **{"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 50},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "eos_token_id": 3},
}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
SWIFT = {"image_size": 32, "depths": [1] * 4, "embed_dims": [8] * 4, "mlp_ratio": 2}
FAMILIES: list[tuple[str, dict[str, Any], bool]] = [
    ("bert", DEEP, True),
    ("roberta", DEEP, True),
    ("deberta-v2", DEEP, True),
    ("modernbert", {**DEEP, "global_attn_every_n_layers": 1}, True),
    ("t5", {**WIDE, "num_layers": 2, "d_kv": 16, "decoder_start_token_id": 0}, True),
    ("bart", BART, True),
    ("gpt2", {**GPT, "vocab_size": 50}, True),
    ("gpt_neox", NEOX, True),
    ("bloom", BLOOM, True),
    ("opt", OPT, True),
    ("llama", DEEP, False),
    ("qwen2", {**DEEP, "num_key_value_heads": 2}, False),
    ("resnet", RESNET, True),
    ("swiftformer", SWIFT, True),
]


def made(name: str, sizes: dict[str, Any]) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """A model with a head of one number, the class that loads it, and inputs."""
    images = name in ("resnet", "swiftformer")
    auto = hf.AutoModelForImageClassification if images else hf.AutoModelForSequenceClassification
    config = hf.AutoConfig.for_model(name, **sizes, num_labels=1, problem_type="regression")
    torch.manual_seed(0)
    model = auto.from_config(config).eval()
    if images:
        return model, auto, {"pixel_values": torch.randn(4, 3, 32, 32)}
    ids = torch.randint(4, 50, (4, 9))
    ids[:, -1] = 3  # the heads of BART and T5 read the last end of text
    return model, auto, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@torch.no_grad()
def test_folded_models_give_raw_units_in_transformers(tmp_path: Path) -> None:
    def check(name: str, sizes: dict[str, Any], takes_mean: bool) -> None:
        model, auto, inputs = made(name, sizes)
        for mean, sd in ((5e5, 4e5), (1e-3, 1e-4), (-1e6, 1.0)):
            z = model(**inputs).logits
            wanted = Scale(mean, sd).values(z)
            folded = auto.from_config(model.config).eval()
            folded.load_state_dict(model.state_dict())
            rest = scale.fold(folded, Scale(mean, sd))
            assert rest == (0 if takes_mean else mean)
            folder = tmp_path / f"{name}{mean}"
            folded.save_pretrained(folder)
            found = auto.from_pretrained(folder).eval()(**inputs).logits.double() + rest
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * sd)

    each(FAMILIES, check)


def test_a_norm_that_the_head_does_not_read_is_left_alone() -> None:
    model, _, _ = made("gpt2", {**GPT, "vocab_size": 50})
    norm = model.transformer.ln_f
    model.transformer.ln_f = torch.nn.Sequential(norm, torch.nn.Tanh())
    before = norm.bias.clone()
    assert scale.fold(model, Scale(7.0, 2.0)) == 7.0
    assert torch.equal(norm.bias, before)


def test_the_scale_is_exact_far_from_zero() -> None:
    draw = np.random.default_rng(0)

    def check(mean: float, sd: float) -> None:
        targets = [float(x) for x in draw.normal(mean, sd, 1000)]
        found = scale.scale_of(targets)
        assert found.mean == pytest.approx(np.mean(np.float64(targets)), rel=1e-14)
        exact = np.std([x - mean for x in targets])
        assert found.sd == pytest.approx(exact, rel=1e-6)
        z = (torch.tensor(targets, dtype=torch.float64) - found.mean) / found.sd
        assert (found.values(z.float()) - torch.tensor(targets).double()).abs().max() < 1e-3 * max(
            sd, abs(mean) * 1e-4
        )

    each([(0, 1), (1e6, 1), (1e9, 1), (-5, 1e-3), (500, 1e5), (1e-4, 1e-6)], check)


def test_equal_targets_have_no_spread() -> None:
    assert scale.scale_of([0.1] * 7) == (0.1, 1.0)


def test_bits_pass_through_casts_unchanged() -> None:
    targets = [97123.456789, 1e9 + 0.25, -1 / 3]
    bits = scale.bits(targets)
    assert bits.dtype == torch.int64
    assert scale.exact(torch.tensor(targets).bfloat16(), bits).tolist() == targets
    rounded = torch.tensor(targets)
    assert scale.exact(rounded, None) is rounded
