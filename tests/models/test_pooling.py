"""Pooled backbones with a head and without, and the modes of their modules."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import each
from torch import Tensor, nn

from ftlight.models.loading import hidden_size
from ftlight.models.modes import evaluating, train_layers
from ftlight.models.pooling import Encoder, Pooled, Pooling, drop_pooler, pool, trained_pooling

STATES = torch.tensor([[[1.0, 4.0], [3.0, 0.0], [9.0, 9.0]], [[2.0, 2.0], [5.0, 5.0], [6.0, 1.0]]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])


class Config(SimpleNamespace):
    def get_text_config(self) -> Config:
        return self


class Backbone(nn.Module):
    """Gives the same states for any input."""

    def __init__(self) -> None:
        super().__init__()
        self.config = Config(hidden_size=2)
        self.pooler = nn.Linear(2, 2)

    def forward(self, attention_mask: Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=STATES)


def test_pooling_reads_real_tokens_only() -> None:
    wanted: dict[Pooling, list[list[float]]] = {
        "mean": [[2.0, 2.0], [13 / 3, 8 / 3]],
        "cls": [[1.0, 4.0], [2.0, 2.0]],
        "last": [[3.0, 0.0], [6.0, 1.0]],
        "max": [[3.0, 4.0], [6.0, 5.0]],
    }
    for pooling, vectors in wanted.items():
        torch.testing.assert_close(pool(STATES, MASK, pooling), torch.tensor(vectors))


def test_an_encoder_has_no_head_and_no_pooler() -> None:
    encoder = Encoder(Backbone(), "mean", scale=1.0)
    assert list(encoder.state_dict()) == []  # the pooler is not used, so it is gone
    vectors = encoder(attention_mask=MASK)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    plain = Encoder(Backbone(), "mean")(attention_mask=MASK)
    torch.testing.assert_close(vectors, nn.functional.normalize(plain))


def test_a_head_reads_vectors_of_the_length_that_is_asked_for() -> None:
    model = Pooled(Backbone(), "mean", 3, scale=5.0).eval()
    assert list(model.state_dict()) == ["head.weight", "head.bias"]
    output = model(attention_mask=MASK)
    (seen,) = output.hidden_states
    torch.testing.assert_close(seen.norm(dim=1), torch.full((2,), 5.0))
    torch.testing.assert_close(output.logits, model.head(seen))


def test_a_model_without_a_pooler_is_left_alone() -> None:
    model = nn.Linear(2, 2)
    drop_pooler(model)
    assert not hasattr(model, "pooler")


def test_the_width_is_read_from_any_config() -> None:
    assert hidden_size(Config(hidden_size=12)) == 12
    assert hidden_size(Config(d_model=24)) == 24
    assert hidden_size(Config(hidden_sizes=[8, 16])) == 768


def test_the_pooling_of_a_sentence_encoder_is_read(tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    file = tmp_path / "1_Pooling" / "config.json"

    def check(config: dict[str, str | bool], pooling: str) -> None:
        file.write_text(json.dumps(config))
        assert trained_pooling(str(tmp_path)) == pooling

    cases = [
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({}, "mean"),
    ]
    each(cases, check)
    file.unlink()
    assert trained_pooling(str(tmp_path)) == "native"


def test_each_module_has_its_own_mode_again_after_an_evaluation() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)))
    model[1].eval()
    model[1][0].train()
    before = [m.training for m in model.modules()]

    def fail() -> None:
        with evaluating(model):
            assert not any(m.training for m in model.modules())
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert [m.training for m in model.modules()] == before == [True, True, False, True, False]


def test_a_batch_norm_trains_only_with_its_parameters() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2), nn.Dropout())
    layers = {"": "head", "0": "layer 0", "1": "layer 1", "2": "layer 1"}
    train_layers(model, layers, {"layer 0", "layer 1"}, {"0.weight"})
    assert [m.training for m in model] == [True, False, True]
    train_layers(model, layers, {"layer 1"}, {"0.weight", "1.bias"})
    assert [m.training for m in model] == [False, True, True]
