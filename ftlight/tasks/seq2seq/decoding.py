"""Generation with an encoder-decoder: its options, its first token, texts with probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ftlight.data import tokens
from ftlight.models import loading
from ftlight.tasks.generation import truncate_at_eos
from ftlight.tasks.seq2seq.data import Seq2SeqData
from ftlight.utils.errors import UserError

# What a backbone must or must not generate, whatever the task.
KEPT_OPTIONS = ("bad_words_ids", "suppress_tokens", "forced_eos_token_id")
GENERATION = {
    "bad_words_ids": ([[int]], None),
    "suppress_tokens": ([int], None),
    "forced_eos_token_id": (int, [int], None),
    "decoder_start_token_id": (int, [int], None),
    "eos_token_id": (int, [int], None),
    "pad_token_id": (int, None),
    "bos_token_id": (int, None),
}
TOKEN_IDS = ("decoder_start_token_id", "pad_token_id", "eos_token_id", "bos_token_id")


def drawn(row: int, rows: int, sample: int | None) -> bool:
    """Whether a row is among ``sample`` rows spread evenly over all.

    >>> [i for i in range(10) if drawn(i, 10, 3)]
    [3, 6, 9]
    """
    return sample is None or (row + 1) * sample // rows > row * sample // rows


def generation_config(model: Any, backbone: str, generates: dict[str, Any]) -> Any:
    """Returns the options of a task as transformers' GenerationConfig, which an export keeps.

    Args:
        model: An encoder-decoder.
        backbone: Hub id or folder, whose own generation_config says what it must not generate.
        generates: Beams, most new tokens, and the like.
    """
    from transformers import GenerationConfig

    own = model.generation_config.to_dict()
    own |= loading.read_file(backbone, "generation_config.json", GENERATION)
    options = {k: own[k] for k in KEPT_OPTIONS if own.get(k) is not None}
    for name in TOKEN_IDS:
        for value in (getattr(model.config, name, None), own.get(name)):
            if isinstance(value, (int, list)):
                options[name] = value
                break
    return GenerationConfig(**{**options, **generates, "do_sample": False, "use_cache": True})


def set_start(model: Any, backbone: str) -> None:
    """Sets the token that the decoder starts with in the config of a model that names none there.

    transformers reads both files to generate, but only config.json to train.

    Args:
        model: An encoder-decoder with its generation_config.
        backbone: Hub id or folder, for the message.

    Raises:
        UserError: no file names one.
    """
    for name in ("decoder_start_token_id", "bos_token_id"):
        for config in (model.config, model.generation_config):
            start = getattr(config, name, None)
            if isinstance(start, int):
                model.config.decoder_start_token_id = start
                return
    raise UserError(
        f"model.backbone: config.json of {backbone} names no decoder_start_token_id, the token that"
        " a target starts with"
    )


def begin_with_language(config: Any, data: Any) -> None:
    """Makes generation begin with the target language, if the data name one.

    Args:
        config: The model's generation_config.
        data: The data module.
    """
    if not isinstance(data, Seq2SeqData) or not data.languages["tgt_lang"]:
        return
    tokenizer = data.tokenizer
    ids = tokenizer(text_target="a")["input_ids"]
    if ids[0] in tokenizer.all_special_ids:
        config.forced_bos_token_id = ids[0]
    elif ids[-1] != data.eos:  # mBART ends a target, and starts the decoder, with the language
        config.decoder_start_token_id = ids[-1]


def start_of(model: Any) -> int:
    """The token that the decoder starts with when it generates."""
    start = model.generation_config.decoder_start_token_id
    return int(start if isinstance(start, int) else model.config.decoder_start_token_id)


def generate(
    model: Any, states: Tensor, mask: Tensor, losses: Callable[..., tuple[Tensor, Tensor]]
) -> list[Tensor]:
    """Generates from encoder states.

    Args:
        model: An encoder-decoder.
        states: What its encoder returns, ``[rows, tokens, width]``.
        mask: Attention mask, ``int64 [rows, tokens]``.
        losses: :meth:`ftlight.tasks.seq2seq.task.Seq2Seq.losses`.

    Returns:
        Of each row its new tokens and their probabilities, ``[tokens, 2]``.
    """
    from transformers.modeling_outputs import BaseModelOutput

    # beam search repeats the states in place
    encoded = BaseModelOutput(states.clone())
    generated = model.generate(encoder_outputs=encoded, attention_mask=mask)
    end = model.generation_config.eos_token_id
    ends = set(end) if isinstance(end, list) else {end}
    rows = [truncate_at_eos(row, ends) for row in generated[:, 1:].tolist()]
    labels = tokens.pad(rows, tokens.IGNORE).to(mask.device)
    given = {"encoder_outputs": BaseModelOutput(states), "attention_mask": mask}
    nll, _ = losses(labels, generated[:, : labels.shape[1]], **given)
    pairs = torch.stack([labels[labels != tokens.IGNORE].float(), (-nll).exp()], 1)
    return list(torch.split(pairs, [len(row) for row in rows]))
