r"""Is the loop of `chat` and `serve` as fast as transformers' generate on the same model?

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/chat_speed.py [MODEL] --tokens 128 --rounds 7

Without MODEL, a folder or hub id, a decoder with random weights is made. In each round, in turn,
both write as many tokens behind the same prompt, greedily; the tokens must be equal. Then two turns
of a chat are timed until the second one's first token, with what was read kept and without.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import torch
import transformers

from ftlight.tasks.causal_lm.generating import Kept, tokens

SIZES = {"hidden_size": 576, "num_hidden_layers": 12, "num_attention_heads": 9}
SIZES |= {"num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 16_384}


def load(name: str) -> Any:
    if name:
        return transformers.AutoModelForCausalLM.from_pretrained(name).eval()
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model("llama", max_position_embeddings=4096, **SIZES)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def stock(model: Any, prompt: list[int], count: int) -> list[int]:
    given = torch.tensor([prompt], device=model.device)
    how = {"do_sample": False, "min_new_tokens": count, "max_new_tokens": count, "pad_token_id": 0}
    out = model.generate(given, attention_mask=torch.ones_like(given), **how)
    reply: list[int] = out[0, len(prompt) :].tolist()
    return reply


def own(model: Any, prompt: list[int], count: int, kept: Kept | None = None) -> list[int]:
    return list(tokens(model, prompt, (), count, kept=kept))


def seconds(work: Any, *given: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    found = work(*given)
    return time.perf_counter() - began, found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", default="", help="default: one of random weights")
    parser.add_argument("--prompt", type=int, default=256, help="tokens before the reply")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of the reply")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    model = load(options.model).to("cuda" if torch.cuda.is_available() else "cpu")
    model.generation_config.eos_token_id = None
    size = model.get_input_embeddings().num_embeddings
    draw = torch.Generator().manual_seed(1)
    prompt = torch.randint(3, size, (options.prompt,), generator=draw).tolist()
    stock(model, prompt, 2), own(model, prompt, 2)  # what is made once
    speeds, firsts = [], []
    for _ in range(options.rounds):
        theirs, expected = seconds(stock, model, prompt, options.tokens)
        ours, found = seconds(own, model, prompt, options.tokens)
        assert found == expected, "the tokens differ"
        speeds.append((options.tokens / ours, options.tokens / theirs))
        kept = Kept()
        reply = own(model, prompt, 16, kept)
        turn = [*prompt, *reply, *prompt[:16]]
        again, _ = seconds(own, model, turn, 1)
        firsts.append((seconds(own, model, turn, 1, kept)[0], again))
    mine, other = (median(column) for column in zip(*speeds, strict=True))
    ratio = median(a / b for a, b in speeds)
    print(
        f"ftlight {mine:.1f} tokens/s, transformers {other:.1f}; ratio {ratio:.2f} (equal tokens)"
    )
    quick, slow = (1000 * median(column) for column in zip(*firsts, strict=True))
    print(f"second turn, first token: {quick:.1f} ms with what was read kept, {slow:.1f} without")


if __name__ == "__main__":
    main()
