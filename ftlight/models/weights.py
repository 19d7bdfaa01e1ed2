"""Pre-trained weights: which class they load into, and whether the file holds all of them."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from torch import nn

from ftlight.models import folder_check
from ftlight.models.dropout import changed
from ftlight.models.load_errors import guarded
from ftlight.models.loading import TRIED, load_config, load_tokenizer, locate, outline
from ftlight.models.places import folder_of
from ftlight.utils.errors import UserError, join_limited
from ftlight.utils.finite import not_finite

log = logging.getLogger(__name__)
# Parts below the head that a backbone need not have: a new one trains with the head.
NEW_PARTS = {"pooler", "crossattention"}


def load(
    name: str,
    auto: str = "AutoModel",
    *,
    pretrained: bool = True,
    dropout: float | None = None,
    **config: Any,
) -> nn.Module:
    """Loads a pre-trained model in fp32 and training mode.

    Parameters that were not pre-trained are named in its ``new_parameters``.

    Args:
        name: hub id or folder.
        auto: name of the transformers Auto class.
        pretrained: whether to load the weights; otherwise they are random.
        dropout: share of all its dropout. Default: its own.
        config: changes to the model's config, such as ``num_labels``.

    Raises:
        UserError: the weights cannot be loaded, or do not fit the architecture below the head; or
            it has no dropout to change.
    """
    import transformers

    given = load_config(name)
    with guarded(name, f"the config.json in {name} cannot be used", folder_check.CONFIG):
        own: dict[str, Any] = given.to_dict()
        dropped = {} if dropout is None else changed(own, dropout)
        settings = given.__class__.from_dict({**own, **dropped, **config})
        text = settings.get_text_config()
    if dropout and not dropped:
        raise UserError(
            f"model.dropout: {name} ({settings.model_type}) has no dropout; leave the option out"
        )
    # BEiT has a vocabulary too, of visual tokens, but nothing to pad.
    if getattr(text, "vocab_size", None) and getattr(text, "pad_token_id", 0) is None:
        text.pad_token_id = load_tokenizer(name).pad_token_id
    factory = getattr(transformers, _encoder_of(name, settings) if auto == "AutoModel" else auto)
    # Without this a thread asks the hub to convert weights that are a pickle.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    dtype = torch.float32  # whatever the file holds: AdamW on bf16 weights loses small updates
    outline(name)  # which says so if it is too large
    files = folder_check.WEIGHTS if pretrained else folder_check.CONFIG
    what = "the weights in {} cannot be loaded" if pretrained else "no model can be made of {}"
    with guarded(name, what.format(name), files):
        try:
            if not pretrained:
                return factory.from_config(settings, dtype=dtype, trust_remote_code=False).train()
            model, info = factory.from_pretrained(
                locate(name),
                config=settings,
                dtype=dtype,
                trust_remote_code=False,
                weights_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                key_mapping=_renamed(settings) if auto.endswith("QuestionAnswering") else None,
            )
        except ValueError as error:
            _refuse_kind(name, auto, settings, error)
            raise
    _check_loaded(name, model, info)
    _check_finite(name, model)
    model.new_parameters = tuple(info["missing_keys"])  # they belong to the head, wherever they are
    return model.train()


def _refuse_kind(name: str, auto: str, config: Any, error: ValueError) -> None:
    """Says so if transformers has no such model for an architecture.

    Raises:
        UserError: it has none.
    """
    if "Unrecognized configuration class" not in str(error):
        return
    kind = auto.removeprefix("AutoModelFor")
    pooled = "; model.pooling: mean or last gives it a head"
    raise UserError(
        f"model.backbone: {name} ({config.model_type}) has no {kind} model"
        f"{pooled if kind == 'SequenceClassification' else ''}"
    ) from error


def _renamed(config: Any) -> dict[str, str] | None:
    """How names in a file of weights are read if the head for questions has others.

    LlamaForQuestionAnswering calls ``transformer`` what all other heads call ``model``.
    """
    from transformers.models.auto import modeling_auto as auto

    maps = (auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING, auto.MODEL_MAPPING)
    kinds = [mapping.get(type(config), None) for mapping in maps]
    if not all(isinstance(kind, type) for kind in kinds):
        return None
    own, usual = (kind.base_model_prefix for kind in kinds)
    return {rf"^{usual}\.": f"{own}."} if own != usual else None


def _encoder_of(name: str, config: Any) -> str:
    """The Auto class that gives a model's states of a text: an encoder-decoder's encoder alone.

    Raises:
        UserError: transformers can neither load the encoder alone nor run both on a text.
    """
    from transformers.models.auto import modeling_auto as auto

    if not getattr(config, "is_encoder_decoder", False):
        return "AutoModel"
    if type(config) in auto.MODEL_FOR_TEXT_ENCODING_MAPPING:
        return "AutoModelForTextEncoding"
    if type(config) in auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:  # such as BART
        return "AutoModel"
    raise UserError(
        f"model.backbone: {name} ({config.model_type}) is an encoder-decoder that gives no states"
        " of a text; use model.task: Seq2Seq"
    )


def _check_loaded(name: str, model: Any, info: dict[str, Any]) -> None:
    """Checks that the file held all weights below the head: others would be random.

    Args:
        name: hub id or folder.
        model: the model.
        info: what transformers says of the loading.

    Raises:
        UserError: weights are missing or of another shape.
    """
    prefix = f"{model.base_model_prefix}." if model.base_model is not model else ""
    missing = [k for k in info["missing_keys"] if k.startswith(prefix)]
    if missing and not prefix:  # CLIP's classifier lies beside the parts of the backbone
        missing = [k for k in missing if k.split(".")[0] in _parts(model.config)]
    lost = [k for k in missing if not NEW_PARTS & set(k.split("."))]
    reshaped = [str(k[0]) for k in info["mismatched_keys"] if str(k[0]).startswith(prefix)]
    if lost or reshaped:
        raise UserError(
            f"model.backbone: the weights of {name} do not match {type(model).__name__}:"
            f" {len(lost)} tensors missing, {len(reshaped)} of another shape,"
            f" {len(info['unexpected_keys'])} unused"
            f" (for example {join_limited([*lost, *reshaped], 2)}); the model would start from"
            " random numbers. Check that config.json and the weights belong together"
        )
    new = sorted({part for k in missing for part in NEW_PARTS & set(k.split("."))})
    if new:
        log.info("%s has no %s; a new one trains with the head", name, join_limited(new))


def _check_finite(name: str, model: nn.Module) -> None:
    """Refuses weights that are not numbers: everything that the model computes would be none.

    Raises:
        UserError: a tensor holds nan or infinity.
    """
    if key := not_finite(model.named_parameters()):
        folder = folder_of(name)
        where = folder_check.weights_in(folder) if folder else f"the weights of {name}"
        raise UserError(
            f"model.backbone: {where}: {key} holds values that are not finite; {folder_check.WAY}"
        )


def _parts(config: Any) -> set[str]:
    """Names of the parts that an architecture has without any head."""
    from transformers import AutoModel

    with torch.device("meta"):
        return {
            name
            for name, _ in AutoModel.from_config(config, trust_remote_code=False).named_children()
        }


def check_tokenizer(model: nn.Module, tokenizer: Any, name: str) -> None:
    """Refuses a tokenizer with larger tokens than the model has embeddings.

    Raises:
        UserError: the largest token would have no embedding.
    """
    try:
        rows = model.base_model.get_input_embeddings().num_embeddings  # type: ignore[operator, union-attr]
    except NotImplementedError:  # CANINE hashes characters: it has an embedding for any
        return
    ids = [len(tokenizer) - 1, *tokenizer.get_vocab().values()]  # some vocabularies have gaps
    if tokenizer.is_fast:  # what it puts around a text need not be in its vocabulary
        ids += tokenizer.backend_tokenizer.encode(TRIED).ids
    if max(ids) >= rows:
        raise UserError(
            f"the tokenizer of {name} has {max(ids) + 1} tokens, the model only {rows}"
            " embeddings; take both from one folder"
        )
