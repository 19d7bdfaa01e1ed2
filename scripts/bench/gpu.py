"""Training on one GPU in bf16 beside transformers' Trainer: speed, memory, share of the GEMM peak.

    python scripts/bench/gpu.py [--shapes bert llama] [--attention sdpa flex_attention]
    python scripts/bench/gpu.py --device cpu --tiny

A BERT-base-shaped classifier and a Llama-shaped decoder of 0.5 billion parameters, of random
weights, train on made-up texts of long-tailed lengths; nothing is downloaded. On ftlight's side
chats are packed and padded, with each --attention; classification is padded, in batches of like
length. On transformers' side is its Trainer in its best setting: grouped by length, fused AdamW,
bf16. Both sides with and without torch.compile (of what has dynamic shapes). Each variant trains in
a process of its own on the same samples, BATCH_SIZE samples a step (packed: as many tokens as these
have in the mean), an epoch as a warm-up that compiles, then another, which is timed: all tokens
that are no padding over all time. Memory is the most that torch has allocated while it trained (on
the CPU the most of the process). The share of the peak is 6 x weights of linear layers x tokens (of
a decoder's head: tokens of replies) over the time, over the best rate of a large bf16 product on
the same device, measured in each process.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chat
import numpy as np
import torch
from overhead import Clock, timing
from torch import nn

import ftlight
from ftlight.data.module import DataModule
from ftlight.run import console as screen
from ftlight.tasks.causal_lm.data import ChatData
from ftlight.tasks.causal_lm.packing import padded
from ftlight.tasks.causal_lm.task import CausalLM

SHAPES = {
    "bert": (768, 12, 30522),
    "llama": (1152, 26, 32768),
}  # width, layers, tokens: 110 and 0.5 billion parameters
TINY = {"bert": (64, 1, 600), "llama": (64, 1, 600)}


def words(rng: random.Random, count: int) -> str:
    """A text of made-up words."""
    return " ".join(rng.choice("abcdefghijklmnop") * rng.randint(1, 3) for _ in range(count))


def write(options: argparse.Namespace, folder: Path) -> None:
    """Writes texts with labels, chats, and the two models."""
    rng, rows = random.Random(0), options.batch_size * options.steps
    lengths = [
        min(options.max_length // 3, 4 + int(rng.lognormvariate(4, 0.8))) for _ in range(rows)
    ]
    with (folder / "bert.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows([words(rng, n), "ab"[i % 2]] for i, n in enumerate(lengths))
    with (folder / "llama.jsonl").open("w") as lines:
        for n in lengths:
            said = [
                {"role": r, "content": words(rng, max(1, n // 2))} for r in ("user", "assistant")
            ]
            lines.write(json.dumps({"messages": said}) + "\n")
    sizes = TINY if options.tiny else SHAPES
    width, layers, vocabulary = sizes["llama"]
    chat.make_llama(folder / "llama", [], width, layers, vocabulary, options.max_length)
    width, layers, vocabulary = sizes["bert"]
    make_bert(folder / "bert", width, layers, vocabulary)


def make_bert(folder: Path, width: int, layers: int, vocabulary: int) -> None:
    """Writes a BERT of random weights; its tokenizer is byte-level."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    special = ["[PAD]", "[CLS]", "[SEP]"]
    made: Any = Tokenizer(
        models.BPE(
            {t: i for i, t in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])},
            [],
        )
    )
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=512, **names).save_pretrained(
        folder
    )
    sizes = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "intermediate_size": width * 4,
        "num_attention_heads": width // 64,
    }
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(vocab_size=vocabulary, **sizes)).save_pretrained(
        folder
    )


def load(options: argparse.Namespace) -> tuple[ftlight.Task, DataModule]:
    """Task and samples of a shape."""
    backbone = f"{options.folder}/{options.shape}"
    common: dict[str, Any] = {
        "tokenizer": backbone,
        "max_length": options.max_length,
        "validation_split": 0,
    }
    torch.manual_seed(0)
    if options.shape == "bert":
        texts = ftlight.TextData(
            f"{backbone}.csv", kind="single", batch_size=options.batch_size, **common
        )
        texts.setup("fit")
        return ftlight.TextClassification(backbone, labels=texts.labels), texts
    packs = "packed" in options.variant
    chats = ChatData(
        f"{backbone}.jsonl",
        packing=packs,
        batch_size=4096 if packs else options.batch_size,
        **common,
    )
    chats.setup("fit")
    if packs:
        chats.tokens_per_batch = round(
            options.batch_size * float(np.mean(chats.sets["train"]["length"]))
        )
    task = CausalLM(backbone)
    for attention in (a for a in options.attention if a in options.variant):
        task.model.set_attn_implementation(attention)  # type: ignore[operator]
    return task, chats


def peak(device: torch.device, size: int) -> float:
    """Operations per second of the best of ten large bf16 products."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(10):
        begun = now()
        a @ b
        times.append(now() - begun)
    return 2 * size**3 / min(times)


def now() -> float:
    """Seconds, once the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def fit_ftlight(task: ftlight.Task, data: DataModule, options: argparse.Namespace) -> None:
    """Trains two epochs with ftlight."""
    clock = Clock()
    options.clock = clock
    if "compiled" in options.variant:
        task.model.compile(dynamic=True)
    only = {
        "max_epochs": 2,
        "test": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "accelerator": options.device,
    }
    with tempfile.TemporaryDirectory() as run:
        ftlight.Trainer(run=f"{run}/run", precision="bf16-mixed", callbacks=[clock], **only).fit(
            task, datamodule=data
        )


def fit_transformers(task: ftlight.Task, data: DataModule, options: argparse.Namespace) -> None:
    """Trains two epochs with transformers' Trainer, on the model as it is loaded."""
    import transformers

    clock = options.clock = Clock()

    pad = data.tokenizer.pad_token_id

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        ids = [r["input_ids"] for r in rows]
        batch = padded(
            ids, [r.get("loss_mask", [True] * len(i)) for r, i in zip(rows, ids, strict=True)], pad
        )
        labels = (
            torch.tensor([r["label"] for r in rows]) if options.shape == "bert" else batch["labels"]
        )
        return {**batch["inputs"], "labels": labels}

    table = data.sets["train"]
    if options.shape == "bert":
        found = zip(table["input_ids"], table.targets, strict=True)
        rows: Any = [{"input_ids": i, "label": t} for i, t in found]
    else:
        rows = chat.Rows(table)
    auto = (
        transformers.AutoModelForSequenceClassification
        if options.shape == "bert"
        else transformers.AutoModelForCausalLM
    )
    more: dict[str, Any] = {"num_labels": 2} if options.shape == "bert" else {}
    model = auto.from_pretrained(f"{options.folder}/{options.shape}", **more)
    size = {
        "per_device_train_batch_size": options.batch_size,
        "num_train_epochs": 2,
        "remove_unused_columns": False,
    }
    best = {
        "train_sampling_strategy": "group_by_length",
        "optim": "adamw_torch_fused",
        "bf16": True,
        "disable_tqdm": True,
    }
    place = {
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": options.device == "cpu",
        "torch_compile": "compiled" in options.variant,
    }
    with tempfile.TemporaryDirectory() as folder:
        args = transformers.TrainingArguments(output_dir=folder, **size, **best, **place)
        transformers.Trainer(model, args, collate, rows, callbacks=[timing(clock)]).train()


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Trains a variant in this process."""
    task, data = load(options)
    device = torch.device(options.device if options.device == "cpu" else "cuda")
    gemm = peak(device, 512 if options.tiny else 8192)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with contextlib.redirect_stdout(io.StringIO()):
        (fit_ftlight if options.variant.startswith("ftlight") else fit_transformers)(
            task, data, options
        )
    tokens, clock = float(np.sum(data.sets["train"]["length"])), options.clock
    linear = {
        n: m.weight.numel() for n, m in task.model.named_modules() if isinstance(m, nn.Linear)
    }
    head = linear.pop("lm_head", 0)
    learned = sum(sum(s) for row in data.sets["train"]["loss_mask"] for s in row) if head else 0
    work = 6 * (sum(linear.values()) * tokens + head * learned)
    memory = (
        torch.cuda.max_memory_allocated()
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {
        "tokens/s": tokens / clock.seconds,
        "GB": memory / 1e9,
        "of peak": work / clock.seconds / gemm,
        "TFLOP/s peak": gemm / 1e12,
    }


def variants(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Shapes and variants to measure."""
    for shape in options.shapes:
        ours = ["ftlight padded"] + [f"ftlight packed {a}" for a in options.attention] * (
            shape == "llama"
        )
        for variant in [*ours, "transformers"]:
            yield shape, variant
            if not options.tiny:
                yield shape, f"{variant} compiled"


def apart(options: argparse.Namespace) -> list[dict[str, float]]:
    """Trains a variant in its own process; None if it fails, so that others are measured."""
    environment = {**os.environ, "HF_DATASETS_CACHE": f"{options.folder}/cache"}
    if options.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    hidden = ["--shape", options.shape, "--variant", options.variant, "--folder", options.folder]
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], *hidden],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:  # a kernel that is not there, a compilation that fails
        print(
            f"{options.shape}, {options.variant} failed: "
            f"{done.stderr.strip().splitlines()[-1][:120]}",
            flush=True,
        )
        return []
    return [json.loads(done.stdout.splitlines()[-1])]


def report(runs: dict[tuple[str, str], list[dict[str, float]]]) -> None:
    """Prints the medians of each variant, and its speed relative to transformers' faster one."""
    columns = ("tokens/s", "GB", "of peak", "TFLOP/s peak")
    print(
        f"{'shape':7}{'variant':42}"
        + "".join(f"{c:>14}" for c in columns)
        + f"{'x transformers':>16}"
    )
    values = {
        v: [statistics.median(r[c] for r in made) for c in columns]
        for v, made in runs.items()
        if made
    }
    for (shape, variant), (rate, memory, share, gemm) in values.items():
        theirs = max(
            (
                found[0]
                for (s, v), found in values.items()
                if s == shape and v.startswith("transformers")
            ),
            default=0.0,
        )
        ratio = f"{rate / theirs:16.2f}" if theirs else ""
        print(f"{shape:7}{variant:42}{rate:14,.0f}{memory:14.2f}{share:14.3f}{gemm:14.2f}{ratio}")


def main() -> None:
    """Measures all variants and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="tiny models and few steps, nothing compiled: tries the script",
    )
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument(
        "--attention",
        nargs="+",
        default=["sdpa"],
        help="transformers' name of the attention of packed chats (sdpa)",
    )
    for name, value in {"batch-size": 32, "steps": 60, "rounds": 3, "max-length": 512}.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"({value})")
    for hidden in ("--shape", "--variant", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tiny:
        options.batch_size, options.steps, options.rounds, options.max_length = 4, 3, 1, 96
    screen.silence_libraries()
    if options.variant:
        print("\n" + json.dumps(measure(options)))
        return
    if options.device == "gpu" and not torch.cuda.is_available():
        raise SystemExit("there is no GPU; --device cpu --tiny tries the script without one")
    name = (
        torch.cuda.get_device_name() if options.device == "gpu" else f"cpu, {os.cpu_count()} cores"
    )
    print(
        f"{name}; torch {torch.__version__}; bf16, {options.steps} steps of {options.batch_size} "
        f"samples, medians of {options.rounds}\n"
    )
    runs: dict[tuple[str, str], list[dict[str, float]]] = {v: [] for v in variants(options)}
    with tempfile.TemporaryDirectory() as folder:
        options.folder = folder
        write(options, Path(folder))
        for which in [*runs] * options.rounds:
            options.shape, options.variant = which
            runs[which] += (
                [measure(options)] if options.tiny else apart(options)
            )  # a try takes one process
    report(runs)


if __name__ == "__main__":
    main()
