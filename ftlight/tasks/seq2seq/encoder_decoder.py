"""Encoders and decoders: one of each from the weights of an encoder, and what a decoder reads."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from ftlight.models import loading
from ftlight.models.pooling import drop_pooler
from ftlight.utils.errors import UserError


def is_encoder_decoder(config: Any) -> bool:
    """Whether an architecture has an encoder and a decoder of its own."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING as MODELS,
    )

    return type(config) in MODELS


def encoder_decoder_from_encoder(name: str, pretrained: bool = True) -> nn.Module:
    """An encoder and a decoder of the same weights (Rothe et al. 2020, arXiv:1907.12461), with a common word table.

    Cross-attention, and a language head where there is none, are new: they are listed in ``new_parameters``.

    Args:
        name: hub id or folder of an encoder.
        pretrained: whether to load its weights.

    Raises:
        UserError: the architecture cannot be a decoder, or is nothing else.
    """
    from transformers import EncoderDecoderConfig, EncoderDecoderModel
    from transformers.models.auto import modeling_auto as auto

    config, tokenizer = loading.load_config(name), loading.load_tokenizer(name)
    if (
        type(config) not in auto.MODEL_FOR_MASKED_LM_MAPPING
        and type(config) in auto.MODEL_FOR_CAUSAL_LM_MAPPING
    ):
        raise UserError(
            f"model.backbone: {name} ({config.model_type}) is a decoder; use task CausalLM"
        )
    decoders = auto.MODEL_FOR_CAUSAL_LM_MAPPING
    if (
        type(config) not in decoders
        or "encoder_hidden_states"
        not in inspect.signature(decoders[type(config)].forward).parameters
    ):
        what = f"{name} ({config.model_type}) has no decoder and cannot be made one"
        raise UserError(
            f"model.backbone: {what}; take an encoder-decoder (T5, BART, …) or an encoder of the kind of BERT, RoBERTa or ELECTRA"
        )
    encoder: Any = loading.load(name, pretrained=pretrained)
    decoder: Any = loading.load(
        name,
        "AutoModelForCausalLM",
        pretrained=pretrained,
        is_decoder=True,
        add_cross_attention=True,
    )
    drop_pooler(encoder)
    ids = {
        "decoder_start_token_id": tokenizer.cls_token_id
        if tokenizer.cls_token_id is not None
        else tokenizer.bos_token_id,
        "eos_token_id": tokenizer.sep_token_id
        if tokenizer.sep_token_id is not None
        else tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    both = EncoderDecoderConfig.from_encoder_decoder_configs(encoder.config, decoder.config, **ids)
    model: Any = EncoderDecoderModel(both, encoder, decoder)
    decoder.set_input_embeddings(encoder.get_input_embeddings())
    decoder.tie_weights()
    new = [f"decoder.{n}" for n in getattr(decoder, "new_parameters", ())]
    model.new_parameters = (
        *new,
        *(f"encoder.{n}" for n in getattr(encoder, "new_parameters", ()) if "pooler" not in n),
    )
    return model.train()


def shift_right(model: Any, labels: Tensor) -> Tensor:
    """What a decoder reads to write ``labels``: a start token, then all but the last; padding where these are -100.

    Args:
        model: an encoder-decoder.
        labels: ``int64 [rows, tokens]``.
    """
    if hasattr(model, "prepare_decoder_input_ids_from_labels"):
        return model.prepare_decoder_input_ids_from_labels(labels=labels)
    start = labels.new_full((len(labels), 1), model.config.decoder_start_token_id)
    return torch.cat(
        [start, labels[:, :-1].masked_fill(labels[:, :-1] == -100, model.config.pad_token_id)], 1
    )
