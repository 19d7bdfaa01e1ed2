from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from conftest import each, save_tokenizer

from ftlight.models import padding

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
XLNET = {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32, "pad_token_id": 0}
GPT2 = {"n_positions": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, "pad_token_id": 0}
FUNNEL = {"block_sizes": [1, 1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32}


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    folder = tmp_path_factory.mktemp("tokenizer")
    return folder, save_tokenizer(folder)


def make(name: str, size: int, **config: Any) -> Any:
    torch.manual_seed(0)
    model_class = getattr(hf, name)
    return model_class(model_class.config_class(vocab_size=size, num_labels=2, **config))


def test_the_side_that_an_architecture_needs_is_found(vocabulary: tuple[Path, int]) -> None:
    folder, size = vocabulary

    def check(name: str, config: dict[str, Any], side: str, right: str) -> None:
        tokenizer = hf.AutoTokenizer.from_pretrained(folder, padding_side=side)
        model = make(name, size, **config)
        assert padding.settle(model, tokenizer) == ""
        assert tokenizer.padding_side == right
        assert not padding.runs_unpadded(model)

    each(
        [
            ("BertForSequenceClassification", SIZES, "right", "right"),
            ("BertForSequenceClassification", SIZES, "left", "right"),  # it has learned positions
            ("GPT2ForSequenceClassification", GPT2, "left", "right"),
            ("GPT2ForTokenClassification", GPT2, "left", "right"),
            ("XLNetForSequenceClassification", XLNET, "right", "left"),  # it reads its last place
            ("XLNetForSequenceClassification", XLNET, "left", "left"),
            ("LlamaForSequenceClassification", {**SIZES, "num_key_value_heads": 1}, "left", "left"),
        ],
        check,
    )


def test_low_precision_is_no_dependence(vocabulary: tuple[Path, int]) -> None:
    """Rows of a model in bf16 differ by its rounding; a shifted position is still seen."""
    folder, size = vocabulary

    def check(name: str, config: dict[str, Any]) -> None:
        tokenizer = hf.AutoTokenizer.from_pretrained(folder, padding_side="left")
        model = make(name, size, initializer_range=0.5, **config).bfloat16()
        assert padding.settle(model, tokenizer) == ""
        assert tokenizer.padding_side == "right"

    each(
        [
            ("BertForTokenClassification", {**SIZES, "num_hidden_layers": 6}),
            ("GPT2ForTokenClassification", {**GPT2, "n_layer": 6}),
        ],
        check,
    )


def test_randomness_in_evaluation_is_no_dependence(vocabulary: tuple[Path, int]) -> None:
    folder, size = vocabulary
    tokenizer = hf.AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = make("BertForSequenceClassification", size, **SIZES)
    model.bert.encoder.layer[0].register_forward_hook(lambda m, a, out: out + torch.rand(1))
    assert padding.settle(model, tokenizer) == ""
    assert tokenizer.padding_side == "left"
    assert not padding.runs_unpadded(model)


def test_of_an_encoder_decoder_the_encoder_runs_without_padding(
    vocabulary: tuple[Path, int],
) -> None:
    """Generation looks at what the whole model's forward takes."""
    folder, size = vocabulary
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16, "max_position_embeddings": 64}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = hf.BartConfig(vocab_size=size, pad_token_id=0, **sizes, **heads)
    model = hf.BartForConditionalGeneration(config).eval()
    layer = model.model.encoder.layers[0]
    layer.register_forward_hook(lambda m, a, out: out + out.mean(1, keepdim=True))
    assert padding.settle(model, tokenizer)
    assert padding.runs_unpadded(model)
    ids = torch.tensor([[7, 8, 9, 3], [7, 3, 0, 0]])
    both = model.generate(input_ids=ids, attention_mask=(ids != 0).long(), max_new_tokens=4)
    alone = model.generate(input_ids=ids[1:, :2], max_new_tokens=4)
    assert both[1].tolist() == alone[0].tolist()


def test_rows_of_a_model_that_reads_padding_run_without_it(vocabulary: tuple[Path, int]) -> None:
    """And again after a copy, in training too, with the gradients of each row alone."""
    folder, size = vocabulary
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    rows = tokenizer(["the card", "my", "a new card is late", "a red one", "we"], padding=True)
    inputs = {k: torch.tensor(rows[k]) for k in ("input_ids", "attention_mask")}
    lengths = inputs["attention_mask"].sum(1).tolist()

    def check(name: str, config: dict[str, Any]) -> None:
        plain = make(name, size, **config).eval()
        model = copy.deepcopy(plain)
        assert type(model).__name__ in padding.settle(model, tokenizer)
        assert padding.runs_unpadded(model)
        assert tokenizer.padding_side == "right"
        model = copy.deepcopy(model)  # its forward is that of the copy
        plain.load_state_dict(model.state_dict())
        out = model(**inputs)
        for i, length in enumerate(lengths):
            alone = plain(**{k: v[i : i + 1, :length] for k, v in inputs.items()})
            for key in ("logits", "start_logits"):
                if key in alone:
                    one, many = alone[key][0], out[key][i]
                    torch.testing.assert_close(many[: len(one)], one)
                    if one.ndim == 2:
                        assert not many[len(one) :].any()
        out.to_tuple()[0].sum().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert len(gradients) > 5
        assert all(g.isfinite().all() for g in gradients)

    each(
        [
            ("FNetForSequenceClassification", SIZES),
            ("FNetForTokenClassification", SIZES),
            ("FNetForQuestionAnswering", SIZES),
            ("FunnelForTokenClassification", FUNNEL),
        ],
        check,
    )


def test_a_model_is_tried_once(vocabulary: tuple[Path, int]) -> None:
    folder, size = vocabulary
    model = make("GPT2ForSequenceClassification", size, **GPT2)
    calls = []
    model.transformer.register_forward_hook(lambda *_: calls.append(1))
    padding.settle(model, hf.AutoTokenizer.from_pretrained(folder, padding_side="left"))
    count = len(calls)
    assert count
    again = hf.AutoTokenizer.from_pretrained(folder, padding_side="left")
    padding.settle(model, again)
    assert len(calls) == count
    assert again.padding_side == "right"


def test_a_batch_without_padding_is_one_call(vocabulary: tuple[Path, int]) -> None:
    folder, size = vocabulary
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    model = make("FNetForSequenceClassification", size, **SIZES)
    padding.settle(model, tokenizer)
    calls = []
    model.fnet.register_forward_hook(lambda *_: calls.append(1))
    ids = torch.full((4, 6), 7)
    model(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert calls == [1]
    mask = torch.tensor([[1] * 6, [1] * 5 + [0], [1] * 6, [1] * 4 + [0] * 2])
    model(input_ids=ids, attention_mask=mask)
    assert len(calls) == 4  # three lengths more


def test_a_row_shorter_than_what_a_model_merges_is_padded(vocabulary: tuple[Path, int]) -> None:
    """CANINE merges four characters, and cannot read fewer."""
    folder, _ = vocabulary
    sizes = {k: v for k, v in SIZES.items() if k != "pad_token_id"}
    config = hf.CanineConfig(**sizes, num_hash_buckets=64, local_transformer_stride=16)
    model = hf.CanineForSequenceClassification(config).eval()
    assert padding.settle(model, hf.AutoTokenizer.from_pretrained(folder))
    ids = torch.tensor([[7, 8, 9], [7, 0, 0]])
    alone = model(input_ids=ids[:1, :3], attention_mask=torch.ones(1, 3, dtype=torch.long)).logits
    both = model(input_ids=ids, attention_mask=torch.tensor([[1, 1, 1], [1, 0, 0]])).logits
    torch.testing.assert_close(both[:1], alone)
    assert not torch.equal(both[0], both[1])


def test_a_model_that_cannot_be_tried_is_left_as_it_is(vocabulary: tuple[Path, int]) -> None:
    """Such as one of images and texts, or an attention that this device does not have."""
    folder, _ = vocabulary
    tokenizer = hf.AutoTokenizer.from_pretrained(folder, padding_side="left")

    class Needs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, **inputs: Any) -> Any:
            raise ValueError("You have to specify pixel_values")

    model = Needs()
    assert padding.settle(model, tokenizer) == ""
    assert tokenizer.padding_side == "left"
    assert not padding.runs_unpadded(model)
