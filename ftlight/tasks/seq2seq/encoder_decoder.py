"""Encoder-decoders: detection, construction from an encoder, and decoder inputs."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from ftlight.models import loading, weights
from ftlight.models.modes import evaluating
from ftlight.models.pooling import drop_pooler
from ftlight.utils.errors import UserError, first_line


def is_encoder_decoder(config: Any) -> bool:
    """Whether an architecture is an encoder-decoder."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING as MODELS,
    )

    return type(config) in MODELS


def encoder_decoder_from_encoder(
    name: str, pretrained: bool = True, dropout: float | None = None
) -> nn.Module:
    """Builds an encoder-decoder from the weights of one encoder, with shared word embeddings.

    Cross-attention and a missing language head are new: they are listed in ``new_parameters``.
    Source: Rothe et al. 2020, arXiv:1907.12461.

    Args:
        name: Hub id or folder of an encoder.
        pretrained: Whether to load its weights.
        dropout: Share of all dropout. Default: the encoder's own.

    Raises:
        UserError: The architecture is a decoder, or cannot become one.
    """
    from transformers import EncoderDecoderConfig, EncoderDecoderModel

    config, tokenizer = loading.load_config(name), loading.load_tokenizer(name)
    _check_can_decode(name, config)
    encoder: Any = weights.load(name, pretrained=pretrained, dropout=dropout)
    decoder: Any = weights.load(
        name,
        "AutoModelForCausalLM",
        pretrained=pretrained,
        dropout=dropout,
        is_decoder=True,
        add_cross_attention=True,
    )
    drop_pooler(encoder)
    start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    ids = {
        "decoder_start_token_id": tokenizer.bos_token_id if start is None else start,
        "eos_token_id": tokenizer.eos_token_id if end is None else end,
        "pad_token_id": tokenizer.pad_token_id,
    }
    both = EncoderDecoderConfig.from_encoder_decoder_configs(encoder.config, decoder.config, **ids)
    model: Any = EncoderDecoderModel(both, encoder, decoder)
    decoder.set_input_embeddings(encoder.get_input_embeddings())
    decoder.tie_weights()
    new = [f"decoder.{n}" for n in getattr(decoder, "new_parameters", ())]
    new += [f"encoder.{n}" for n in getattr(encoder, "new_parameters", ()) if "pooler" not in n]
    model.new_parameters = tuple(new)
    _check_writes(name, model)
    return model.train()


@torch.no_grad()
def _check_writes(name: str, model: Any) -> None:
    """Tries two tokens: some architectures cannot generate as a decoder (BigBird).

    Raises:
        UserError: the model is one of them.
    """
    start = torch.full((1, 4), int(model.config.decoder_start_token_id))
    try:
        with evaluating(model):
            model.generate(input_ids=start, attention_mask=torch.ones_like(start), max_new_tokens=2)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"model.backbone: {name} ({model.config.decoder.model_type}) cannot write texts in"
            f" transformers ({first_line(error)}); take an encoder such as BERT or RoBERTa"
        ) from error


def _check_can_decode(name: str, config: Any) -> None:
    """Refuses what is a decoder already, and what transformers has no decoder class for."""
    from transformers.models.auto import modeling_auto as auto

    kind = type(config)
    decoder = auto.MODEL_FOR_CAUSAL_LM_MAPPING.get(kind, None)
    if decoder is not None and kind not in auto.MODEL_FOR_MASKED_LM_MAPPING:
        raise UserError(
            f"model.backbone: {name} ({config.model_type}) is a decoder; use task CausalLM"
        )
    cross = "encoder_hidden_states"
    if decoder is None or cross not in inspect.signature(decoder.forward).parameters:
        raise UserError(
            f"model.backbone: {name} ({config.model_type}) has no decoder and cannot become one;"
            " take an encoder-decoder (T5, BART, …) or an encoder such as BERT, RoBERTa or ELECTRA"
        )


def shift_right(model: Any, labels: Tensor) -> Tensor:
    """Returns the decoder inputs for ``labels``: a start token, then all but the last label.

    Labels of -100 become padding.

    Args:
        model: An encoder-decoder.
        labels: ``int64 [rows, tokens]``.
    """
    if hasattr(model, "prepare_decoder_input_ids_from_labels"):
        return model.prepare_decoder_input_ids_from_labels(labels=labels)
    start = labels.new_full((len(labels), 1), model.config.decoder_start_token_id)
    before = labels[:, :-1]
    return torch.cat([start, before.masked_fill(before == -100, model.config.pad_token_id)], 1)


def untied(model: Any) -> nn.Module:
    """Returns the same model as transformers builds it: embeddings in both halves, and a pooler.

    Args:
        model: What :func:`encoder_decoder_from_encoder` made.
    """
    from transformers import EncoderDecoderModel

    both: Any = EncoderDecoderModel(type(model.config).from_dict(model.config.to_dict()))
    both.load_state_dict(model.state_dict(), strict=False)
    both.generation_config = model.generation_config
    return both.eval()
