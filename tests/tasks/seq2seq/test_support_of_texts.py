"""Support of a text that was generated: the mean log-probability of its tokens."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import WORDS, each, make_bert, save_tokenizer
from tiny.supports import asked_of, support_of

import ftlight
from ftlight import Predictor
from ftlight.explain.support import batches
from ftlight.metrics.evaluation import Asked

SOURCES = ["colour red , thing card", "[MASK] blue , Thing Order", "two"]
# of EncoderDecoderModel given labels, as an oracle
pytestmark = pytest.mark.filterwarnings("ignore:Version v4.12.0")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bert")
    return str(make_bert(folder, sentence_encoder=False, initializer_range=0.3))


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> str:
    from transformers import T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("t5")
    size = save_tokenizer(folder)
    config = T5Config(vocab_size=size, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2)
    config.pad_token_id, config.eos_token_id, config.decoder_start_token_id = 0, 3, 0
    torch.manual_seed(0)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


def writer(backbone: str, **options: Any) -> Predictor:
    torch.manual_seed(0)  # of cross-attention
    task = ftlight.Seq2Seq(backbone, max_new_tokens=6)
    data = ftlight.Seq2SeqData(tokenizer=backbone, source="given", target="said", **options)
    return Predictor(task, data)


def test_support_of_a_text_is_the_loss_of_transformers(bert: str, t5: str) -> None:
    def check(backbone: str, prefix: str) -> None:
        model = writer(backbone, prefix=prefix)
        tokenizer, texts = model.data.tokenizer, ["the card is red", "it is good and new", "a"]
        rows = [{"given": source} for source in SOURCES]
        asked = [model.task.asked({"prediction": text})[0] for text in texts]
        expected = []
        for source, part, text in zip(SOURCES, asked, texts, strict=True):
            assert tokenizer.decode(list(part.key), skip_special_tokens=True) == text
            inputs = tokenizer(prefix + source, return_tensors="pt")
            given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
            with torch.inference_mode():
                loss = model.task.model(**given, labels=torch.tensor([part.key])).loss
            expected.append(-float(loss))
        assert support_of(model, rows, asked).tolist() == pytest.approx(expected, abs=1e-4)
        assert model.data.texts_of(rows[0]) == rows[0]

    each([(bert, ""), (t5, "summarize : ")], check)


def test_the_probability_of_a_text_is_its_score(bert: str) -> None:
    def check(truecase: bool) -> None:
        model = writer(bert, truecase=truecase)
        model_: Any = model.task.model
        bias = model_.decoder.cls.predictions.bias.data
        bias.fill_(-1e4)  # writes words that are one token
        bias[model.data.tokenizer.convert_tokens_to_ids([*WORDS, "[SEP]"])] = 0.0
        bias[3] = 4.0
        rows = [{"given": " ".join(WORDS[i : i + 2 + i % 5])} for i in range(0, 27, 3)]
        answers = model.predict(rows)
        asked = [parts[0] for parts in asked_of(model, rows)]
        assert [part.name for part in asked] == [answer["prediction"] for answer in answers]
        found = [math.exp(value) for value in support_of(model, rows, asked).tolist()]
        assert found == pytest.approx([answer["score"] for answer in answers], rel=1e-4)
        ends = {part.key[-1] == 3 for part in asked}
        assert ends == {True, False}  # some are cut before their end
        assert any(len(part.key) == 6 and part.key[-1] != 3 for part in asked)

    each([False, True], check)


def test_gradients_reach_the_source(bert: str) -> None:
    model = writer(bert)
    asked = [Asked("", (10, 11, 3)), Asked("", (12, 3))]
    seen: list[torch.Tensor] = []

    def keep(module: Any, given: Any, output: torch.Tensor) -> None:
        output.retain_grad()
        seen.append(output)

    encoder: Any = model.task.model.get_encoder()  # type: ignore[operator]
    hook = encoder.embeddings.register_forward_hook(keep)
    for batch, numbers in batches(model, [{"given": source} for source in SOURCES[:2]]):
        values = model.task.support(batch, [asked[number] for number in numbers])
        torch.autograd.backward(values.sum())
    hook.remove()
    assert seen[0].grad is not None
    assert seen[0].grad.abs().amax((1, 2)).min() > 0


def test_several_columns_are_several_texts(bert: str, tmp_path: Path) -> None:
    data = ftlight.Seq2SeqData(tokenizer=bert, source=["name", "pair.0"])
    row = {"name": "the card", "pair": ["is red", "is blue"], "line": 2}
    assert data.texts_of(row) == {"name": "the card", "pair.0": "is red"}
    changed = data.with_texts(row, {"pair.0": "is [MASK]"})
    data.set_predict([row, changed])
    ids = data.sets["predict"][[0, 1]]["input_ids"]
    mask = data.tokenizer.mask_token_id
    assert [list(row).count(mask) for row in ids] == [0, 1]
