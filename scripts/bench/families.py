"""Tiny models of many architectures with their tokenizers, made on the spot: no network.

The tokenizers pad on the side, and put tokens around a text, as those of published models do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import tokenizers as tk
import torch
import transformers as hf

WORDS = "the a my is was it we you parcel order card film plot new blue red one two three four"
TEXTS = [WORDS, "where is my money and when do i see it", "card lost, please help!"]
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
HEADS = {"num_key_value_heads": 1, "head_dim": 16}
ENCODER_DECODER = {
    "d_model": 32,
    **{f"{part}_layers": 2 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 2 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 64 for part in ("encoder", "decoder")},
    "max_position_embeddings": 128,
}
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
GPT2 = {"n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 2}


def bert_tokenizer(**options: Any) -> Any:
    """Word pieces between [CLS] and [SEP]."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = tk.Tokenizer(tk.models.WordPiece(unk_token="[UNK]"))
    made.normalizer = tk.normalizers.BertNormalizer()
    made.pre_tokenizer = tk.pre_tokenizers.BertPreTokenizer()
    trainer = tk.trainers.WordPieceTrainer(vocab_size=300, special_tokens=special)
    made.train_from_iterator(TEXTS, trainer)
    made.post_processor = tk.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {f"{name.strip('[]').lower()}_token": name for name in special}
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, **{"model_max_length": 64, **names, **options}
    )


def _bytes(special: list[str], ends: Any = None, **options: Any) -> Any:
    """Byte pairs; the special tokens have the first numbers."""
    made = tk.Tokenizer(tk.models.BPE())
    made.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tk.decoders.ByteLevel()
    alphabet = tk.pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS,
        tk.trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet),
    )
    if ends is not None:
        made.post_processor = ends
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, **{"model_max_length": int(1e30), **options}
    )


def gpt_tokenizer(**options: Any) -> Any:
    """Nothing around a text, and no token to pad with."""
    end = "<|endoftext|>"
    return _bytes([end], eos_token=end, bos_token=end, **options)


def roberta_tokenizer(**options: Any) -> Any:
    """<s> and </s> around a text; the padding token is number 1."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    names = {"bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    names |= {"sep_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
    ends = tk.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return _bytes(special, ends, **{**names, **options})


def t5_tokenizer(**options: Any) -> Any:
    """</s> after a text."""
    ends = tk.processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return _bytes(list(names.values()), ends, **names, **options)


class Family(NamedTuple):
    """How a model is made: class and config of transformers, tokenizer, whether it reads images."""

    model: str
    config: dict[str, Any]
    processor: Callable[..., Any]
    options: Mapping[str, Any] = MappingProxyType({})


def _bert(model: str, config: dict[str, Any] | None = None, **options: Any) -> Family:
    config = {**SIZES, "max_position_embeddings": 64, "pad_token_id": 0, **(config or {})}
    return Family(model, config, bert_tokenizer, options)


def _roberta(model: str, positions: int, **config: Any) -> Family:
    ends = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    config = {**SIZES, "max_position_embeddings": positions, "type_vocab_size": 1, **ends, **config}
    return Family(model, config, roberta_tokenizer)


def _decoder(model: str, config: dict[str, Any], **options: Any) -> Family:
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return Family(model, {**ends, **config}, gpt_tokenizer, options)


def _t5(model: str, config: dict[str, Any]) -> Family:
    ends = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    return Family(model, {**config, **ends}, t5_tokenizer, {"model_max_length": 128})


LLAMA = {**SIZES, **HEADS, "max_position_embeddings": 256, "tie_word_embeddings": True}
DISENTANGLED = {
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
FUNNEL = {"block_sizes": [1, 1], "d_model": 32, "n_head": 2, "d_head": 16, "d_inner": 64}
GEMMA_ENDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
BLOOM = {"hidden_size": 32, "n_layer": 2, "n_head": 2, "pad_token_id": 0}
TEXT_FAMILIES: dict[str, Family] = {
    "bert": _bert("BertForMaskedLM"),
    "roberta, 514 positions": _roberta("RobertaForMaskedLM", 514),
    "roberta, 512 positions": _roberta("RobertaForMaskedLM", 512),
    "roberta, 386 positions": _roberta("RobertaForMaskedLM", 386),
    "distilbert": _bert("DistilBertForMaskedLM", DISTIL),
    "electra": _bert("ElectraForPreTraining", {"embedding_size": 16}),
    "albert": _bert("AlbertForMaskedLM", {"embedding_size": 16}),
    "mpnet": _roberta("MPNetForMaskedLM", 66),
    "deberta-v2": _bert("DebertaV2ForMaskedLM", DISENTANGLED),
    "modernbert": _bert(
        "ModernBertForMaskedLM",
        {
            **{
                f"{name}_token_id": i
                for name, i in {"cls": 2, "bos": 2, "sep": 3, "eos": 3}.items()
            },
            "global_attn_every_n_layers": 2,
            "local_attention": 16,
        },
    ),
    "longformer": _roberta("LongformerForMaskedLM", 130, attention_window=[8, 8], sep_token_id=2),
    "bigbird": _bert("BigBirdForMaskedLM", {"block_size": 8, "num_random_blocks": 1}),
    "funnel": Family("FunnelForMaskedLM", FUNNEL, bert_tokenizer),
    "fnet": _bert("FNetForMaskedLM"),
    "xlnet, left": Family(
        "XLNetLMHeadModel",
        {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "pad_token_id": 0},
        bert_tokenizer,
        {"padding_side": "left", "model_max_length": int(1e30)},
    ),
    "canine": Family(
        "CanineModel",
        {
            **SIZES,
            "max_position_embeddings": 256,
            "num_hash_buckets": 256,
            "local_transformer_stride": 16,
        },
        lambda: hf.CanineTokenizer(model_max_length=256),
    ),
    "gpt2": _decoder("GPT2LMHeadModel", GPT2, model_max_length=128),
    "gpt2, left": _decoder("GPT2LMHeadModel", GPT2, padding_side="left"),
    "llama": _decoder("LlamaForCausalLM", LLAMA),
    "qwen3, left": _decoder("Qwen3ForCausalLM", LLAMA, padding_side="left"),
    "gemma3, left": Family(
        "Gemma3ForCausalLM",
        {**LLAMA, "sliding_window": 16, **GEMMA_ENDS},
        roberta_tokenizer,
        {"padding_side": "left"},
    ),
    "bloom, left": _decoder("BloomForCausalLM", BLOOM, padding_side="left"),
    "opt": Family(
        "OPTForCausalLM",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "ffn_dim": 64,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": 16,
            "pad_token_id": 1,
            "bos_token_id": 2,
            "eos_token_id": 2,
        },
        roberta_tokenizer,
    ),
    "mamba": _decoder(
        "MambaForCausalLM", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
    ),
    "t5": _t5("T5ForConditionalGeneration", T5),
    "byt5": Family(
        "T5ForConditionalGeneration",
        {**T5, "decoder_start_token_id": 0, "tie_word_embeddings": False},
        hf.ByT5Tokenizer,
    ),
    "bart": Family(
        "BartForConditionalGeneration",
        {**ENCODER_DECODER, "forced_bos_token_id": 0},
        roberta_tokenizer,
        {"model_max_length": 128},
    ),
    "pegasus": _t5("PegasusForConditionalGeneration", ENCODER_DECODER),
}


def _image(model: str, config: dict[str, Any], processor: str, **options: Any) -> Family:
    return Family(
        model, config, getattr(hf, f"{processor}Pil", None) or getattr(hf, processor), options
    )


VIT = {"image_size": 32, "patch_size": 8, **SIZES}
SQUARE = {"size": {"height": 32, "width": 32}}
CROPPED = {"crop_size": {"height": 32, "width": 32}}
STAGES = {"hidden_sizes": [16, 32], "depths": [1, 1]}
TOWERS = {
    "text_config": {"vocab_size": 100, "max_position_embeddings": 16, **SIZES},
    "vision_config": VIT,
}
IMAGE_FAMILIES: dict[str, Family] = {
    "vit": _image("ViTForImageClassification", VIT, "ViTImageProcessor", **SQUARE),
    "vit, grayscale": _image(
        "ViTForImageClassification",
        {**VIT, "num_channels": 1},
        "ViTImageProcessor",
        image_mean=[0.5],
        image_std=[0.5],
        **SQUARE,
    ),
    "vit, 32 x 64": _image(
        "ViTForImageClassification",
        {**VIT, "image_size": [32, 64]},
        "ViTImageProcessor",
        size={"height": 32, "width": 64},
    ),
    "deit": _image(
        "DeiTForImageClassificationWithTeacher",
        VIT,
        "DeiTImageProcessor",
        size={"height": 36, "width": 36},
        **CROPPED,
    ),
    "beit": _image(
        "BeitForImageClassification",
        {**VIT, "use_relative_position_bias": True},
        "BeitImageProcessor",
        **SQUARE,
        **CROPPED,
    ),
    "swin": _image(
        "SwinForImageClassification",
        {
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": [1, 1],
            "num_heads": [2, 2],
            "window_size": 4,
        },
        "ViTImageProcessor",
        **SQUARE,
    ),
    "convnext": _image(
        "ConvNextForImageClassification",
        {"image_size": 32, "patch_size": 4, "num_stages": 2, **STAGES},
        "ConvNextImageProcessor",
        size={"shortest_edge": 32},
        crop_pct=0.875,
    ),
    "resnet": _image(
        "ResNetForImageClassification",
        {"embedding_size": 16, **STAGES},
        "ConvNextImageProcessor",
        size={"shortest_edge": 32},
        crop_pct=0.875,
    ),
    "dinov2": _image(
        "Dinov2Model",
        {"image_size": 32, "patch_size": 8, "mlp_ratio": 2, **SIZES},
        "BitImageProcessor",
        size={"shortest_edge": 36},
        **CROPPED,
    ),
    "clip": _image(
        "CLIPModel", TOWERS, "CLIPImageProcessor", size={"shortest_edge": 32}, **CROPPED
    ),
    "metaclip 2": _image(
        "MetaClip2Model", TOWERS, "CLIPImageProcessor", size={"shortest_edge": 32}, **CROPPED
    ),
    "siglip": _image("SiglipModel", TOWERS, "SiglipImageProcessor", **SQUARE),
    "mobilevit": _image(
        "MobileViTForImageClassification",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "neck_hidden_sizes": [8, 8, 16, 16, 16, 16, 32],
        },
        "MobileViTImageProcessor",
        size={"shortest_edge": 72},
        crop_size={"height": 64, "width": 64},
    ),
}
FAMILIES = {**TEXT_FAMILIES, **IMAGE_FAMILIES}


def make(name: str, folder: Path) -> Path:
    """Writes the model of a family with random weights, always the same. Returns the folder."""
    family = FAMILIES[name]
    processor = family.processor(**family.options)
    config = dict(family.config)
    if name in TEXT_FAMILIES and name != "canine":
        config["vocab_size"] = len(processor)
    torch.manual_seed(0)
    model_class = getattr(hf, family.model)
    model = model_class(model_class.config_class(**config))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data *= 4  # so that what a row holds shows in its result
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
