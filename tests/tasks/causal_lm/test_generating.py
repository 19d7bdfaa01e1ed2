"""Tokens are those of transformers' own generate, whatever was read before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import each
from tiny.causal_lm import make_decoder

from ftlight.tasks.causal_lm.generating import Drawing, Kept, next_logits, tokens

FEW = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
FEW |= {"tie_word_embeddings": False}
PROMPT = [5, 17, 42, 9, 63, 20, 11]


def decoder(kind: str, **more: Any) -> Any:
    """A decoder with random weights, large enough that replies vary."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(3)
    few = {**FEW, "intermediate_size": 64, **more}
    if kind == "gpt2":
        few = {
            "vocab_size": 100,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 2,
            "tie_word_embeddings": False,
        }
    config = AutoConfig.for_model(kind, bos_token_id=1, eos_token_id=2, pad_token_id=0, **few)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(0, 0.3)
    return model


def generated(model: Any, prompt: list[int], most: int, seed: int = 0, **how: Any) -> list[int]:
    """The reply of transformers."""
    torch.manual_seed(seed)
    given = torch.tensor([prompt])
    options = {"do_sample": False, "eos_token_id": [2], "pad_token_id": 0, **how}
    out = model.generate(given, attention_mask=given * 0 + 1, max_new_tokens=most, **options)
    reply: list[int] = out[0, len(prompt) :].tolist()
    return reply


KINDS = [
    ("llama", {}),
    ("gpt2", {"tie_word_embeddings": False}),
    ("qwen2", {"num_key_value_heads": 1}),
    ("mistral", {"sliding_window": 4, "num_key_value_heads": 1}),
    ("bloom", {}),
    ("mamba", {"state_size": 8}),
]


def test_greedy_tokens_are_those_of_transformers() -> None:
    def check(kind: str, more: dict[str, Any]) -> None:
        model = decoder(kind, **more)
        expected = generated(model, PROMPT, 24)
        assert list(tokens(model, PROMPT, {2}, 24)) == expected
        assert len(set(expected)) > 2
        end = expected[5]
        assert list(tokens(model, PROMPT, {end}, 24)) == expected[: expected.index(end) + 1]

    each(KINDS, check)


def test_drawn_tokens_are_those_of_transformers_with_the_same_seed() -> None:
    model, replies = decoder("llama"), []
    for seed in range(4):
        how = {"do_sample": True, "top_k": 0, "temperature": 0.7, "top_p": 0.9}
        expected = generated(model, PROMPT, 24, seed, **how)
        state = torch.random.get_rng_state()
        for _ in range(2):
            assert list(tokens(model, PROMPT, {2}, 24, Drawing(0.7, 0.9, seed))) == expected
        assert torch.equal(torch.random.get_rng_state(), state)
        replies.append(expected)
    assert replies[0] != replies[1]
    assert list(tokens(model, PROMPT, {2}, 9, Drawing(1e-9))) == generated(model, PROMPT, 9)


def test_a_chat_goes_on_from_what_was_read() -> None:
    def check(kind: str, more: dict[str, Any]) -> None:
        model, kept = decoder(kind, **more), Kept()
        reply = list(tokens(model, PROMPT, {2}, 8, kept=kept))
        turns = [
            [*PROMPT, *reply, 33, 34],  # goes on
            [*PROMPT, *reply, 33, 34],  # the same again
            [*PROMPT, 50, 51, 52],  # another from there
            [7, 8, 9],  # another from the beginning
        ]
        for turn in turns:
            assert list(tokens(model, turn, {2}, 8, kept=kept)) == generated(model, turn, 8)

    each(KINDS, check)


def test_only_what_is_new_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model, kept, sizes = decoder("llama"), Kept(), []
    model.register_forward_pre_hook(
        lambda module, args, options: sizes.append(options["input_ids"].shape[1]),
        with_kwargs=True,
    )
    reply = list(tokens(model, PROMPT, {2}, 3, kept=kept))
    list(tokens(model, [*PROMPT, *reply, 33], {2}, 1, kept=kept))
    list(tokens(model, [*PROMPT, 60], {2}, 1, kept=kept))
    assert sizes == [7, 1, 1, 2, 1]


def test_what_a_model_that_fails_has_read_is_forgotten(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(make_decoder(tmp_path)).eval()
    kept = Kept()
    expected = next_logits(model, PROMPT, kept)
    with pytest.raises(IndexError):
        next_logits(model, [*PROMPT, 10**6], kept)
    assert (kept.ids, kept.cache) == ([], None)
    torch.testing.assert_close(next_logits(model, PROMPT, kept), expected)
