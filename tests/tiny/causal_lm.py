"""A tiny decoder over bytes, and chats about parcels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

SPECIAL = ["<unk>", "<s>", "</s>"]


def _wrap(made: Any, special: list[str], **names: str) -> Any:
    from tokenizers import AddedToken, processors
    from transformers import PreTrainedTokenizerFast

    made.add_special_tokens([AddedToken(t, special=True) for t in [*SPECIAL, *special]])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", **names}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=512, **names)


def byte_tokenizer(special: list[str], **names: str) -> Any:
    """A token per byte, as GPT-2 writes them, with <s> before every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {t: i for i, t in enumerate([*SPECIAL, *letters])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return _wrap(made, special, **names)


def piece_tokenizer(special: list[str], **names: str) -> Any:
    """A token per letter in the way of SentencePiece: ▁ for a space and before every text, bytes for what is not known."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    letters = [chr(c) for c in range(33, 127)]
    vocabulary = {
        t: i for i, t in enumerate([*SPECIAL, *(f"<0x{b:02X}>" for b in range(256)), "▁", *letters])
    }
    made = Tokenizer(
        models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return _wrap(made, special, **names)


def make_decoder(
    folder: Path, kind: str = "llama", special: tuple[str, ...] = (), **names: str
) -> str:
    """Writes a decoder of a few thousand parameters. Returns its folder."""
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = byte_tokenizer(list(special), **names)
    tokenizer.save_pretrained(folder)
    few = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "num_key_value_heads": 1,
    }
    few = (
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_inner": 64, "n_positions": 512}
        if kind == "gpt2"
        else {**few, "max_position_embeddings": 512}
    )
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=True,
        **few,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return str(folder)


def write_chats(path: Path, count: int, turns: int = 2) -> str:
    """Writes chats in OpenAI's format."""
    things = ("parcel", "card", "refund", "order")
    lines = []
    for i in range(count):
        messages = []
        for turn in range(turns):
            thing = things[(i + turn) % 4]
            messages += [
                {"role": "user", "content": f"where is my {thing} {i}"},
                {"role": "assistant", "content": f"your {thing} is here"},
            ]
        lines.append(json.dumps({"messages": messages}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def fit(folder: Path) -> list[str]:
    """Words that override a config."""
    data = write_chats(folder / "chats.jsonl", 40)
    return [
        "--model.backbone",
        make_decoder(folder / "decoder"),
        "--data.train",
        data,
        "--model.max_new_tokens",
        "4",
        "--model.sample",
        "2",
    ]


def predict(folder: Path) -> list[str]:
    """Words after ``predict RUN``."""
    return ["--text", "where is my parcel"]
