r"""Tokens per second of chat training: ftlight's packed batches, and padding as in TRL.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/chat.py --chats chat/support_chat.jsonl \
        [--backbone FOLDER]

- ftlight: ftlight.Trainer, CausalLM and ChatData with tokens_per_batch, all else at its default.
- padded: transformers.Trainer with a fused AdamW; batches in random order, padded to the longest
  sample, labels -100 outside of replies, the model's own loss over the logits of all tokens. TRL's
  trainer is this one, with these defaults of its collator.
- padded, grouped: the same with train_sampling_strategy="group_by_length".

All train on the same samples, cut and tokenized by ftlight, with the same labels, from the same
weights. BATCH_SIZE samples a step on the side of transformers, and on ours as many tokens a step as
these have in the mean. A round trains each variant once, in processes of their own, one after the
other: a few steps of the longest samples as a warm-up, then one epoch of STEPS x BATCH_SIZE random
samples. The rate is all tokens that are no padding over all time, from the start of the epoch to
the end of its last step: with collation, without imports, loading, tokenization and validation; no
checkpoints are written.

Without --backbone a Llama of random weights is made: 25 million parameters (--width 512, --layers
6) and a tokenizer of 8,192 tokens, made of the chats.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from overhead import PRECISION, Clock, report, timing
from torch import Tensor

import ftlight
from ftlight.run import console as screen
from ftlight.tasks.causal_lm.data import ChatData
from ftlight.tasks.causal_lm.packing import padded
from ftlight.tasks.causal_lm.task import CausalLM

WARM = 6  # steps of the warm-up
VARIANTS: dict[str, dict[str, str]] = {
    "ftlight": {},
    "padded": {},
    "padded, grouped": {"train_sampling_strategy": "group_by_length"},
}


def texts(path: str) -> list[str]:
    """What is said in chats."""
    rows = (json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [message["content"] for row in rows for message in row["messages"]]


def make_llama(
    folder: Path, said: list[str], width: int, layers: int, vocabulary: int, max_length: int
) -> str:
    """Writes a Llama of random weights with a byte-level tokenizer; returns its folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>"]
    made: Any = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        said,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=special,
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )  # type: ignore[call-arg]
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=max_length, **names
    ).save_pretrained(folder)
    heads = max(1, width // 64)
    sizes = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "intermediate_size": width * 3,
        "num_attention_heads": heads,
    }
    about = {
        "vocab_size": vocabulary,
        "max_position_embeddings": max_length,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**sizes, **about, bos_token_id=1, eos_token_id=2)).save_pretrained(
        folder
    )
    return str(folder)


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """Samples of a table as transformers' Trainer takes them."""

    def __init__(self, table: Any) -> None:
        self.rows = [
            {"input_ids": i[0], "loss_mask": k[0]}
            for i, k in zip(table["ids"], table["loss_mask"], strict=True)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.rows[i]


def fit_ftlight(model: str, data: ChatData, precision: str, clock: Clock) -> None:
    """Trains an epoch with ftlight."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as run:
        only = {
            "max_epochs": 1,
            "test": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
        }
        trainer = ftlight.Trainer(run=f"{run}/run", precision=precision, callbacks=[clock], **only)
        trainer.fit(CausalLM(model), datamodule=data)


def fit_transformers(
    model: str, data: ChatData, options: argparse.Namespace, clock: Clock, chosen: Any
) -> None:
    """Trains an epoch with transformers' Trainer on padded batches."""
    import transformers

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        batch = padded(
            [r["input_ids"] for r in rows],
            [r["loss_mask"] for r in rows],
            data.tokenizer.pad_token_id,
        )
        clock.tokens += batch["labels"].numel()
        return {**batch["inputs"], "labels": batch["labels"]}

    with tempfile.TemporaryDirectory() as folder:
        place = {
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": not torch.accelerator.is_available(),
            "disable_tqdm": True,
        }
        size = {
            "per_device_train_batch_size": options.batch_size,
            "num_train_epochs": 1,
            "remove_unused_columns": False,
        }
        args = transformers.TrainingArguments(
            output_dir=folder,
            bf16=options.precision == "bf16",
            optim="adamw_torch_fused",
            **size,
            **place,
            **chosen,
        )
        torch.manual_seed(0)
        made = transformers.AutoModelForCausalLM.from_pretrained(model)
        transformers.Trainer(
            made, args, collate, Rows(data.sets["train"]), callbacks=[timing(clock)]
        ).train()


def prepare(options: argparse.Namespace) -> ChatData:
    """Samples of an epoch, in batches of as many tokens as transformers' have on average."""
    data = ChatData(
        options.chats,
        tokenizer=options.model,
        max_length=options.max_length,
        validation_split=0,
        batch_size=4096,
        packing=True,
    )
    data.setup("fit")
    table = data.sets["train"]
    chosen = np.random.default_rng(0).permutation(len(table))[: options.steps * options.batch_size]
    table.columns = table.columns.select(chosen)
    data.tokens_per_batch = round(options.batch_size * float(np.mean(table["length"])))
    return data


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Trains a variant in this process: first the warm-up, then the epoch."""
    clock, data = Clock(), prepare(options)
    longest = np.argsort(data.sets["train"]["length"])[-WARM * options.batch_size :]
    for made in (prepare(options), data):
        if made is not data:
            made.sets["train"].columns = made.sets["train"].columns.select(longest)
        if options.variant == "ftlight":
            fit_ftlight(options.model, made, options.ours or PRECISION[options.precision], clock)
        else:
            fit_transformers(options.model, made, options, clock, VARIANTS[options.variant])
    real = sum(data.sets["train"]["length"])
    return {"tokens": real, "seconds": clock.seconds, "padding": clock.tokens / real}


def main() -> None:
    """Measures all variants and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chats", required=True, help="chats, a JSONL of messages")
    parser.add_argument(
        "--backbone", help="folder of a decoder; a Llama made on the spot if not given"
    )
    numbers = {
        "width": 512,
        "layers": 6,
        "vocabulary": 8192,
        "max-length": 1024,
        "batch-size": 8,
        "steps": 24,
        "rounds": 3,
    }
    for name, value in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"({value})")
    parser.add_argument("--precision", choices=PRECISION, default="bf16")
    parser.add_argument(
        "--ours", help="precision of ftlight, such as bf16-master (that of --precision)"
    )
    for hidden in ("--variant", "--model"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    screen.silence_libraries()
    if options.variant:
        print("\n" + json.dumps(measure(options)))
        return
    runs: dict[str, list[dict[str, float]]] = {v: [] for v in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        sizes = options.width, options.layers, options.vocabulary, options.max_length
        options.model = options.backbone or make_llama(
            Path(folder, "llama"), texts(options.chats), *sizes
        )
        environment = {**os.environ, "HF_DATASETS_CACHE": f"{folder}/cache"}
        for variant in [*VARIANTS] * options.rounds:
            command = [
                sys.executable,
                __file__,
                *sys.argv[1:],
                "--variant",
                variant,
                "--model",
                options.model,
            ]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{variant} failed:\n{done.stderr}")
            runs[variant].append(json.loads(done.stdout.splitlines()[-1]))
    options.backbone = (
        options.backbone
        or f"Llama of width {options.width}, {options.layers} layers, {options.vocabulary} tokens"
    )
    assert len({r["tokens"] for made in runs.values() for r in made}) == 1
    report(
        options,
        "tokens/s",
        options.steps,
        {v: [r["tokens"] / r["seconds"] for r in made] for v, made in runs.items()},
    )
    print(
        "padded tokens per real token: "
        + ", ".join(f"{v} {made[0]['padding']:.3f}" for v, made in runs.items())
    )


if __name__ == "__main__":
    main()
