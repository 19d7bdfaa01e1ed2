"""Integrated gradients: as captum has them, and complete."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import make_bert

import ftlight
from ftlight import Predictor
from ftlight.explain import gradients
from ftlight.explain.units import units
from ftlight.utils.errors import UserError

TEXT = "my card is broken, where is the refund of two late orders?"


def predictor(backbone: str, **options: str) -> Predictor:
    torch.manual_seed(0)
    task = ftlight.TextClassification(backbone, labels=["good", "bad", "late"])
    for layer in (task.model.head, *(m for m in task.modules() if isinstance(m, torch.nn.Linear))):
        torch.nn.init.normal_(layer.weight, std=0.3)  # so that words matter
    return Predictor(task, ftlight.TextData(tokenizer=backbone, labels=task.labels, **options))


def test_shares_add_up_and_are_those_of_captum(tmp_path: Path) -> None:
    from captum.attr import LayerIntegratedGradients

    model = predictor(str(make_bert(tmp_path / "bert")))
    asked = model.task.asked(model.predict(TEXT)[0])[0]
    words, _ = units({"text": TEXT}, {})
    batch, owners = gradients.read(model, {"text": TEXT}, words, steps=64)
    found = gradients.integrate(model, batch, asked, owners, steps=64)
    assert found.gap < 0.02
    support, weights = gradients.weigh(model, {"text": TEXT}, asked, words)
    path, _ = gradients.fine(model, {"text": TEXT}, asked, words)
    assert weights.sum() == pytest.approx(path.tokens.sum().item(), abs=1e-5)  # all in words
    assert support == pytest.approx(found.end)

    network = model.task.model
    ids, mask = (batch["inputs"][name][:1] for name in ("input_ids", "attention_mask"))
    is_word = torch.tensor([owner is not None for owner in owners])
    blank = torch.where(is_word, model.data.tokenizer.mask_token_id, ids)

    def forward(given: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = network(input_ids=given, attention_mask=used).logits
        return logits.log_softmax(-1)

    layer = network.model.embeddings.word_embeddings
    oracle = LayerIntegratedGradients(forward, layer).attribute(
        ids, blank, target=asked.key, additional_forward_args=(mask,), n_steps=64
    )
    assert torch.allclose(found.tokens, oracle.sum(-1)[0].float(), atol=1e-2)


def test_points_are_added_until_shares_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = predictor(str(make_bert(tmp_path / "bert")))
    asked = model.task.asked(model.predict(TEXT)[0])[0]
    words, _ = units({"text": TEXT}, {})
    monkeypatch.setattr(gradients, "STEPS", 1)
    batch, owners = gradients.read(model, {"text": TEXT}, words, steps=1)
    assert gradients.integrate(model, batch, asked, owners, steps=1).gap > 0.02
    assert gradients.fine(model, {"text": TEXT}, asked, words)[0].gap <= 0.02
    monkeypatch.setattr(gradients, "MOST", len(owners))  # no memory for more
    assert gradients.fine(model, {"text": TEXT}, asked, words)[0].gap > 0.02


def test_entities_have_shares_that_add_up(tmp_path: Path) -> None:
    bert = str(make_bert(tmp_path / "bert"))
    torch.manual_seed(0)
    task = ftlight.TokenClassification(bert, labels=["O", "B-THING", "I-THING"])
    for layer in (m for m in task.modules() if isinstance(m, torch.nn.Linear)):
        torch.nn.init.normal_(layer.weight, std=0.3)
    model = Predictor(task, ftlight.TokenData(tokenizer=bert, labels=task.labels))
    row = {"text": TEXT}
    words, _ = units(model.data.texts_of(row), {})
    asked = task.asked(model.predict([row])[0])
    assert asked
    batch, owners = gradients.read(model, row, words, steps=64)
    for each in asked:
        assert gradients.integrate(model, batch, each, owners, steps=64).gap < 0.02


def test_pairs_have_their_own_words(tmp_path: Path) -> None:
    model = predictor(str(make_bert(tmp_path / "bert")), text_pair="reply")
    row = {"text": "my card is late", "reply": "a new card is in the order"}
    asked = model.task.asked(model.predict([row])[0])[0]
    words, _ = units(model.data.texts_of(row), {})
    _, weights = gradients.weigh(model, row, asked, words)
    assert [word.text for word in words].count("reply") == 7
    assert (weights != 0).all()


def test_rows_that_are_not_read_as_they_are_get_a_line(tmp_path: Path) -> None:
    bert = str(make_bert(tmp_path / "bert"))
    task = ftlight.TextClassification(bert, labels=["a", "b"], long_text="window")
    model = Predictor(task, ftlight.TextData(tokenizer=bert, labels=["a", "b"], max_length=16))
    row = {"text": "my card is late " * 20}
    asked = model.task.asked(model.predict([row])[0])[0]
    with pytest.raises(UserError, match="--method ig: needs rows whose texts"):
        gradients.weigh(model, row, asked, units(row, {})[0])
