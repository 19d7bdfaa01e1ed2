"""Rows per second of training: ftlight beside transformers' Trainer, all else equal.

- ftlight: ftlight.Trainer, TextClassification and TextData at their defaults.
- ftlight bf16-master: the same with ``trainer.precision: bf16-master``, beside bf16.
- ftlight stock: the same with ``model.kernels: stock``, attention and dropout as transformers and
  torch have them.
- transformers default: transformers.Trainer with TrainingArguments at their defaults, batches in
  random order.
- transformers best: the same with train_sampling_strategy="group_by_length" and
  optim="adamw_torch_fused" (the default optimizer since torch 2.8, so the sampling is what
  differs).

All train one mean-pooled backbone with a linear head, on one device. A round trains each variant
once, in processes of their own, one after the other. A process warms up on a few batches, then
trains one whole epoch over a random subset of STEPS x BATCH_SIZE rows, the same on all sides. The
rate is all rows over all time (sustained, no median per step), from the start of the epoch to the
end of its last step: with collation and the optimizer's first step, without imports, loading,
tokenization and validation; no checkpoints are written. A whole epoch has short and long batches in
their true shares, so it does not matter that group_by_length begins with the longest. It sorts 50
batches together, as ftlight does, but a quarter of the rows where there are fewer than 200 batches,
and then pads more: measure 200 steps or more.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from overhead import Clock, arguments, fit_ftlight, make_task, prepare, report, sample, timing
from torch import Tensor, nn

import ftlight

VARIANTS: dict[str, dict[str, str]] = {
    "ftlight": {},
    "ftlight bf16-master": {},
    "ftlight stock": {"kernels": "stock"},
    "transformers default": {},
    "transformers best": {
        "train_sampling_strategy": "group_by_length",
        "optim": "adamw_torch_fused",
    },
}


def fit_transformers(
    task: ftlight.TextClassification,
    data: ftlight.TextData,
    precision: str,
    clock: Clock,
    chosen: Any,
) -> None:
    """Trains an epoch with transformers' Trainer, on the model and the loss of the task."""
    import transformers

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = task.model

        def forward(
            self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor
        ) -> dict[str, Tensor]:
            clock.count(attention_mask)
            logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits.float()
            return {"loss": task.loss(logits, labels), "logits": logits}

    encoded = data.sets["train"]
    rows = encoded.columns.add_column("labels", encoded.targets)
    size = {
        "per_device_train_batch_size": data.batch_size,
        "max_steps": len(rows) // data.batch_size,
    }
    place = {
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": not torch.accelerator.is_available(),
    }  # bf16 asks for use_cpu
    with tempfile.TemporaryDirectory() as folder:
        args = transformers.TrainingArguments(
            output_dir=folder, bf16=precision == "bf16", **size, **place, **chosen
        )
        collator = transformers.DataCollatorWithPadding(data.tokenizer)
        trainer = transformers.Trainer(
            Model(),
            args,
            collator,
            rows,
            processing_class=data.tokenizer,
            callbacks=[timing(clock)],
        )
        trainer.train()


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Trains a variant in this process: first the warm-up, then the epoch."""
    made, clock = prepare(options, Path(options.folder)), Clock()
    ours = options.variant.startswith("ftlight")
    task = make_task(
        options, made[-1], **VARIANTS[options.variant] if ours else {"kernels": "stock"}
    )
    precision = "bf16-master" if options.variant == "ftlight bf16-master" else options.precision
    for data in made:
        if ours:
            fit_ftlight(task, data, precision, clock)
        else:
            fit_transformers(task, data, options.precision, clock, VARIANTS[options.variant])
    real = sum(made[-1].sets["train"]["length"])
    facts = {
        "rows": clock.rows,
        "seconds": clock.seconds,
        "padding": clock.tokens / real,
        "real": real,
    }
    return {
        **facts,
        "weights": sum(
            p.numel() for n, p in task.model.named_parameters() if "embeddings" not in n
        ),
    }


def shares(rates: dict[str, float], top: float) -> str:
    """Rates as shares of the best, in words."""
    return ", ".join(f"{v} {rate / top:.1%}" for v, rate in rates.items())


def peak(precision: str) -> float:
    """Best rate of a matrix product of the model's sizes, in GFLOP/s: the limit of any step."""
    kind = torch.float32 if precision == "fp32" else torch.bfloat16
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    best = 0.0
    for rows, deep, wide in (
        (512, 384, 384),
        (512, 384, 1536),
        (512, 1536, 384),
        (8192, 384, 1536),
        (4096, 4096, 4096),
    ):
        a, b = (torch.randn(*size, device=device).to(kind) for size in ((rows, deep), (wide, deep)))
        times = []
        for _ in range(20):
            begun = time.perf_counter()
            nn.functional.linear(a, b)
            if device.type != "cpu":
                torch.accelerator.synchronize()
            times.append(time.perf_counter() - begun)
        best = max(best, 2 * rows * deep * wide / statistics.median(times) / 1e9)
    return best


def main() -> None:
    parser = arguments(__doc__, steps=200, rounds=3)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=VARIANTS,
        help="variants to measure, the first against the others; all of them",
    )
    for hidden in ("--variant", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print("\n" + json.dumps(measure(options)))
        return
    if importlib.util.find_spec("accelerate") is None:
        raise SystemExit("transformers' Trainer needs accelerate: pip install accelerate")
    chosen = options.only or [
        v for v in VARIANTS if options.precision == "bf16" or v != "ftlight bf16-master"
    ]
    runs: dict[str, list[dict[str, float]]] = {v: [] for v in chosen}
    with tempfile.TemporaryDirectory() as folder:
        steps = sample(options, Path(folder))
        environment = {**os.environ, "HF_DATASETS_CACHE": f"{folder}/cache"}
        for variant in chosen * options.rounds:
            command = [
                sys.executable,
                __file__,
                *sys.argv[1:],
                "--variant",
                variant,
                "--folder",
                folder,
            ]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{variant} failed:\n{done.stderr}")
            runs[variant].append(json.loads(done.stdout.splitlines()[-1]))
    assert {r["rows"] for made in runs.values() for r in made} == {steps * options.batch_size}
    report(
        options,
        "rows/s",
        steps,
        {v: [r["rows"] / r["seconds"] for r in made] for v, made in runs.items()},
    )
    print(
        "padded tokens per real token: "
        + ", ".join(f"{v} {made[0]['padding']:.3f}" for v, made in runs.items())
    )
    top = peak(options.precision)
    rates = {
        v: statistics.median(6 * r["weights"] * r["real"] / r["seconds"] / 1e9 for r in made)
        for v, made in runs.items()
    }
    print(
        f"share of the {top:,.0f} GFLOP/s of a matrix product (6 x weights x real tokens): "
        + shares(rates, top)
    )
    if steps < 200:
        print(
            f"only {steps} steps: group_by_length sorts fewer batches together than on larger data"
        )


if __name__ == "__main__":
    main()
