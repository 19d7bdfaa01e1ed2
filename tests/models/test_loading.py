from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers as hf
from conftest import each, save_tokenizer

from ftlight.data import tokens
from ftlight.models import loading, weights
from ftlight.utils.errors import UserError

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
VISION = {"image_size": 32, "patch_size": 8, **SIZES}
TOWERS = {
    "text_config": {"vocab_size": 100, "max_position_embeddings": 16, **SIZES},
    "vision_config": VISION,
}


def save(name: str, folder: Path, **config: Any) -> str:
    model_class = getattr(hf, name)
    model_class(model_class.config_class(**config)).save_pretrained(folder)
    return str(folder)


def test_positions_are_those_that_a_row_can_use(tmp_path: Path) -> None:
    """transformers itself runs a row of that length, and of none longer."""
    import torch

    size = save_tokenizer(tmp_path / "tokenizer")

    def check(name: str, config: dict[str, Any], most: int | None) -> None:
        folder = tmp_path / f"{name}{most}"
        save(name, folder, vocab_size=size, **config)
        assert loading.positions(str(folder)) == most
        model = hf.AutoModel.from_pretrained(folder)
        model(input_ids=torch.full((1, most or 600), 7))
        if most:
            with pytest.raises((IndexError, RuntimeError)):
                model(input_ids=torch.full((1, most + 1), 7))

    roberta = {**SIZES, "pad_token_id": 1}
    each(
        [
            ("RobertaModel", {**roberta, "max_position_embeddings": 514}, 512),
            ("RobertaModel", {**roberta, "max_position_embeddings": 512}, 510),
            ("RobertaModel", {**roberta, "max_position_embeddings": 386}, 384),
            ("RobertaModel", {**SIZES, "pad_token_id": 0, "max_position_embeddings": 40}, 39),
            ("MPNetModel", {**roberta, "max_position_embeddings": 66}, 64),
            ("BertModel", {**SIZES, "max_position_embeddings": 514}, 514),
            ("GPT2Model", {"n_positions": 66, "n_embd": 16, "n_layer": 1, "n_head": 2}, 66),
            ("OPTModel", {**SIZES, "ffn_dim": 32, "max_position_embeddings": 64}, 64),
            ("XLNetModel", {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}, None),
        ],
        check,
    )


def test_texts_are_cut_at_the_positions(tmp_path: Path) -> None:
    size = save_tokenizer(tmp_path)
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.model_max_length = int(1e30)
    tokenizer.save_pretrained(tmp_path)
    save("RobertaModel", tmp_path, vocab_size=size, max_position_embeddings=386, **SIZES)
    assert tokens.max_length(str(tmp_path)) == 384


def test_image_backbones_whose_head_lies_beside_them_load(tmp_path: Path) -> None:
    """The towers of texts and images; the head is new, the rest is as saved."""

    def check(name: str, config: dict[str, Any], weight: str) -> None:
        folder = save(name, tmp_path / name, **config)
        model = weights.load(folder, "AutoModelForImageClassification", num_labels=3)
        assert set(model.new_parameters) == {"classifier.weight", "classifier.bias"}
        saved = hf.AutoModel.from_pretrained(folder)
        assert model.get_parameter(weight).equal(saved.get_parameter(weight))

    layer = "encoder.layers.0.mlp.fc1.weight"
    each(
        [
            ("CLIPModel", TOWERS, f"vision_model.{layer}"),
            ("MetaClip2Model", TOWERS, f"vision_model.{layer}"),
            ("SiglipModel", TOWERS, f"vision_model.{layer}"),
        ],
        check,
    )


def test_weights_that_lack_a_part_of_such_a_backbone_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save("CLIPModel", tmp_path, **TOWERS)
    saved = load_file(tmp_path / "model.safetensors")
    del saved["vision_model.encoder.layers.0.mlp.fc1.weight"]
    save_file(saved, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="1 tensors missing"):
        weights.load(folder, "AutoModelForImageClassification", num_labels=3)


def test_beit_has_a_vocabulary_but_no_tokenizer(tmp_path: Path) -> None:
    folder = save("BeitForImageClassification", tmp_path, **VISION)
    model = weights.load(folder, "AutoModelForImageClassification", num_labels=3)
    assert model.config.num_labels == 3


def test_the_width_is_that_of_what_a_model_returns(tmp_path: Path) -> None:
    config = {**SIZES, "ffn_dim": 32, "word_embed_proj_dim": 8, "max_position_embeddings": 32}
    folder = save("OPTModel", tmp_path, vocab_size=50, **config)
    assert loading.width(folder) == 8


def test_of_an_encoder_decoder_the_encoder_alone_gives_states(tmp_path: Path) -> None:
    t5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 50}
    folder = save("T5ForConditionalGeneration", tmp_path / "t5", pad_token_id=0, **t5)
    assert type(weights.load(folder)).__name__ == "T5EncoderModel"
    halves = {f"{half}_{part}": 1 for half in ("encoder", "decoder") for part in ("layers",)}
    halves |= {f"{half}_attention_heads": 2 for half in ("encoder", "decoder")}
    pegasus = {"d_model": 16, "vocab_size": 50, "pad_token_id": 0, **halves}
    folder = save("PegasusForConditionalGeneration", tmp_path / "pegasus", **pegasus)
    with pytest.raises(UserError, match="Seq2Seq"):
        weights.load(folder)


def test_a_row_without_tokens_gets_one(tmp_path: Path) -> None:
    """A decoder's tokenizer puts nothing around a text; a batch of empty texts has a token each."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    def check(names: dict[str, str], token: int) -> None:
        made = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<s>": 2, "a": 3}, "<pad>"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", **names)
        columns = tokens.tokenize(tokenizer, ["", "a a", " "], None, 8)
        assert columns["input_ids"] == [[token], [3, 3], [token]]
        assert columns["length"] == [1, 2, 1]
        batch = tokens.collate({"input_ids": columns["input_ids"][:1]}, tokenizer)
        assert batch["attention_mask"].tolist() == [[1]]

    each(
        [({"bos_token": "<s>", "eos_token": "</s>"}, 2), ({"eos_token": "</s>"}, 1), ({}, 0)], check
    )


def test_dropout_is_that_of_all_parts(tmp_path: Path) -> None:
    """Of modules, and of the attentions that have it as a number."""
    from torch import nn

    def check(name: str, auto: str, config: dict[str, Any]) -> None:
        folder = save(name, tmp_path / name, **config)
        for share in (0.3, 0.0):
            model = weights.load(folder, auto, dropout=share)
            shares = [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
            shares += [m.attention_dropout for m in model.modules() if hasattr(m, "q_proj")]
            assert shares
            assert set(shares) == {share}

    text = "AutoModelForSequenceClassification"
    bert = {**SIZES, "vocab_size": 50}
    llama = {**bert, "num_key_value_heads": 2, "pad_token_id": 0}
    gpt2 = {"vocab_size": 50, "n_embd": 16, "n_layer": 1, "n_head": 2, "pad_token_id": 0}
    each(
        [
            ("BertModel", text, bert),
            ("GPT2Model", text, gpt2),
            ("LlamaForCausalLM", "AutoModelForCausalLM", llama),
            ("ViTModel", "AutoModelForImageClassification", VISION),
        ],
        check,
    )
    resnet = save("ResNetModel", tmp_path / "r", hidden_sizes=[8], depths=[1], embedding_size=8)
    with pytest.raises(UserError, match=r"model\.dropout: .* has no dropout"):
        weights.load(resnet, dropout=0.1)


def test_a_task_hands_its_dropout_on(bert: str) -> None:
    from torch import nn

    from ftlight import TextClassification

    task = TextClassification(bert, labels=["a", "b"], dropout=0.25)
    assert {m.p for m in task.model.modules() if isinstance(m, nn.Dropout)} == {0.25}
