"""Rows per second of training: ftlight beside transformers' own Trainer, on the same model, rows, batch size and precision.

- ftlight: ftlight.Trainer, TextClassification and TextData at their defaults.
- transformers default: transformers.Trainer with TrainingArguments at their defaults, batches in random order.
- transformers best: the same with train_sampling_strategy="group_by_length" and optim="adamw_torch_fused" (the default
  optimizer since torch 2.8, so the sampling is what differs).

All train one mean-pooled backbone with a linear head. A round trains each variant once, in processes of their own, one
after the other. A process warms up on a few batches, then trains one whole epoch over a random subset of STEPS x BATCH_SIZE
rows, the same on all sides. The rate is all rows over all time (sustained, no median per step), from the start of the
epoch to the end of its last step: with collation and the optimizer's first step, without imports, loading, tokenization,
validation and checkpoints. A whole epoch has short and long batches in their true shares, so it does not matter that
group_by_length begins with the longest. It sorts 50 batches together, as ftlight does, but a quarter of the rows where
there are fewer than 200 batches, and then pads more: measure 200 steps or more. Padding is padded per real token.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

import ftlight
import ftlight.trainer
from ftlight import screen

VARIANTS = ("ftlight", "transformers default", "transformers best")
WARM = 10  # batches of the warm-up
PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


class Clock(L.Callback):
    """Time of an epoch, its rows and padded tokens; as a callback, those of ftlight."""

    def start(self) -> None:
        """Starts the window."""
        self.rows = self.tokens = 0
        self.begun = self._now()

    def count(self, mask: Tensor) -> None:
        """Counts a batch by its attention mask ``[rows, tokens]``."""
        self.rows += len(mask)
        self.tokens += mask.numel()

    def stop(self) -> None:
        """Ends the window."""
        self.seconds = self._now() - self.begun

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the window."""
        self.start()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Counts the batch; ends the window at the last."""
        self.count(batch["inputs"]["attention_mask"])
        if batch_idx + 1 == trainer.num_training_batches:
            self.stop()


def fit_ftlight(task: ftlight.Task, data: ftlight.TextData, precision: str, clock: Clock) -> None:
    """Trains an epoch with ftlight."""
    ftlight.trainer.SAVE_EVERY = math.inf  # no save inside the window, however long it is
    with tempfile.TemporaryDirectory() as run:
        trainer = ftlight.Trainer(run=run, max_epochs=1, test=False, precision=PRECISION[precision], callbacks=[clock])
        trainer.fit(task, datamodule=data)


def fit_transformers(task: ftlight.TextClassification, data: ftlight.TextData, precision: str, clock: Clock, **chosen: str) -> None:
    """Trains an epoch with transformers' Trainer, on the model and the loss of the task."""
    import transformers

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = task.model

        def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
            clock.count(attention_mask)
            logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits.float()
            return {"loss": task.loss(logits, labels), "logits": logits}

    class Timing(transformers.TrainerCallback):
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            clock.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == state.max_steps:
                clock.stop()

    encoded = data.sets["train"]
    rows = encoded.columns.add_column("labels", encoded.targets)
    size = {"per_device_train_batch_size": data.batch_size, "max_steps": len(rows) // data.batch_size}
    quiet = {"save_strategy": "no", "report_to": "none"}
    with tempfile.TemporaryDirectory() as folder:
        args = transformers.TrainingArguments(output_dir=folder, bf16=precision == "bf16", **size, **quiet, **chosen)
        collator = transformers.DataCollatorWithPadding(data.tokenizer)
        trainer = transformers.Trainer(Model(), args, collator, rows, processing_class=data.tokenizer, callbacks=[Timing()])
        trainer.train()


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="training data, a CSV")
    parser.add_argument("--text", required=True, help="column of the text")
    parser.add_argument("--label", required=True, help="column of the label, one per row")
    parser.add_argument("--backbone", default="sentence-transformers/all-MiniLM-L6-v2", help="hub id or folder")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200, help="batches of the measured epoch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=PRECISION, default="fp32")
    return parser


def sample(options: argparse.Namespace, folder: Path) -> int:
    """Writes random rows for the epoch, and some of them for the warm-up; returns the number of whole batches."""
    screen.quiet()
    table = ftlight.TextData(options.train, text=options.text, label=options.label, kind="single", validation_split=0).raw("train")
    steps = min(options.steps, len(table) // options.batch_size)
    if steps == 0:
        raise SystemExit(f"{options.train} has {len(table)} rows, less than a batch")
    rows = np.random.default_rng(0).permutation(len(table))[: steps * options.batch_size]
    table.select(rows).to_csv(folder / "rows.csv")
    table.select(rows[: WARM * options.batch_size]).to_csv(folder / "warm.csv")
    return steps


def prepare(options: argparse.Namespace, folder: Path) -> list[ftlight.TextData]:
    """Tokenized data of the warm-up and of the epoch."""
    shared = {"kind": "single", "validation_split": 0, "batch_size": options.batch_size, "tokenizer": options.backbone}
    data = ftlight.TextData(str(folder / "rows.csv"), **shared)
    made = [ftlight.TextData(str(folder / "warm.csv"), labels=data.labels, **shared), data]
    for each in made:
        each.setup("fit")
    return made


def make_task(options: argparse.Namespace, data: ftlight.TextData) -> ftlight.TextClassification:
    """The model, always from the same numbers."""
    torch.manual_seed(0)
    return ftlight.TextClassification(options.backbone, pooling="mean", labels=data.labels)


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Trains a variant in this process."""
    best = {"train_sampling_strategy": "group_by_length", "optim": "adamw_torch_fused"}
    fits = (fit_ftlight, fit_transformers, lambda *given: fit_transformers(*given, **best))
    made, clock = prepare(options, Path(options.folder)), Clock()
    task = make_task(options, made[-1])
    for data in made:
        fits[VARIANTS.index(options.variant)](task, data, options.precision, clock)
    return {"rows": clock.rows, "seconds": clock.seconds, "padding": clock.tokens / sum(made[-1].sets["train"]["length"])}


def heading(options: argparse.Namespace, steps: int) -> str:
    """What the numbers hold for."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    versions = ", ".join(f"{p} {version(p)}" for p in ("torch", "lightning", "transformers"))
    where = f"{device}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {options.precision}; {versions}"
    return f"{where}\n{options.backbone}, {steps} steps of {options.batch_size} rows, the same rows on all sides\n"


def main() -> None:
    parser = arguments(__doc__)
    for hidden in ("--variant", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print("\n" + json.dumps(measure(options)))
        return
    if importlib.util.find_spec("accelerate") is None:
        raise SystemExit("transformers' Trainer needs accelerate: pip install accelerate")
    runs: dict[str, list[dict[str, float]]] = {v: [] for v in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        steps = sample(options, Path(folder))
        environment = {**os.environ, "HF_DATASETS_CACHE": f"{folder}/cache"}
        for variant in VARIANTS * options.rounds:
            command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant, "--folder", folder]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{variant} failed:\n{done.stderr}")
            runs[variant].append(json.loads(done.stdout.splitlines()[-1]))
    assert {r["rows"] for made in runs.values() for r in made} == {steps * options.batch_size}

    print(heading(options, steps))
    print(f"{'rows/s':22}" + "".join(f"{f'round {i + 1}':>9}" for i in range(options.rounds)) + f"{'median':>9}{'padding':>9}")
    rates = {v: [r["rows"] / r["seconds"] for r in made] for v, made in runs.items()}
    for variant, values in rates.items():
        cells = "".join(f"{v:9.1f}" for v in [*values, statistics.median(values)])
        print(f"{variant:22}{cells}{runs[variant][0]['padding']:9.3f}")
    for other in VARIANTS[1:]:
        ratios = [a / b for a, b in zip(rates["ftlight"], rates[other], strict=True)]
        print(f"ftlight / {other}: {statistics.median(ratios):.3f}, median of rounds ({min(ratios):.3f} to {max(ratios):.3f})")
    if steps < 200:
        print(f"only {steps} steps: group_by_length sorts fewer batches together than on larger data")


if __name__ == "__main__":
    main()
