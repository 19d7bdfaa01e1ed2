"""ftlight's own cost: milliseconds per step of ftlight.Trainer over a bare PyTorch loop that does the same work.

Both sides have a model of the same type and weights, the data module's batches in the same order, the same fused AdamW with
the same groups, the same clipping, autocast and learning rates. In one process, each round trains one epoch of STEPS
batches on each side, in turns first; a round before them warms up. The time is that of the epoch from its second step, since
the first allocates the optimizer's state, to the end of its last; no checkpoints are written. At the end the weights of both
sides are compared: they did the same work if they are the same.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

import ftlight
from ftlight import optim, screen

WARM = 10  # batches of the warm-up
PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


class Clock(L.Callback):
    """Time, rows and padded tokens of an epoch; as a callback, of ftlight's.

    Args:
        skip: steps at the start of the epoch that are not timed.
    """

    def __init__(self, skip: int = 0) -> None:
        self.skip = skip

    def start(self) -> None:
        """Starts the window."""
        self.rows, self.tokens, self.order = 0, 0, list[list[int]]()
        self.begun = self._now()

    def count(self, mask: Tensor, rows: Sequence[int] = ()) -> None:
        """Counts a batch by its attention mask ``[rows, tokens]``, at its start; seeds dropout at the first."""
        if not self.order:
            torch.manual_seed(0)
        if self.skip and len(self.order) == self.skip:
            self.begun = self._now()
        self.rows, self.tokens = self.rows + len(mask), self.tokens + mask.numel()
        self.order.append(list(rows))

    def stop(self) -> None:
        """Ends the window."""
        self.seconds = self._now() - self.begun

    def _now(self) -> float:
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        return time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the window."""
        self.start()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Counts the batch."""
        self.count(batch["inputs"]["attention_mask"], batch["index"])

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Ends the window at the last batch."""
        if batch_idx + 1 == trainer.num_training_batches:
            self.stop()


def arguments(doc: str | None, steps: int, rounds: int) -> argparse.ArgumentParser:
    """The command line, with default steps and rounds."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, what in {"train": "training data, a CSV", "text": "column of the text", "label": "column of the label"}.items():
        parser.add_argument(f"--{name}", required=True, help=what)
    parser.add_argument("--backbone", default="sentence-transformers/all-MiniLM-L6-v2", help="hub id or folder")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=steps, help=f"batches of a measured epoch ({steps})")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"times each side is measured ({rounds})")
    parser.add_argument("--precision", choices=PRECISION, default="fp32")
    return parser


def sample(options: argparse.Namespace, folder: Path) -> int:
    """Writes random rows for the epoch, and some of them for the warm-up; returns the number of whole batches."""
    screen.quiet()
    table = ftlight.TextData(options.train, text=options.text, label=options.label, kind="single", validation_split=0).raw("train")
    steps = min(options.steps, len(table) // options.batch_size)
    if steps < 2:
        raise SystemExit(f"{options.train} has {len(table)} rows, less than two batches")
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


def fit_ftlight(task: ftlight.Task, data: ftlight.TextData, precision: str, clock: Clock) -> None:
    """Trains an epoch with ftlight."""
    with tempfile.TemporaryDirectory() as run:
        only = {"max_epochs": 1, "test": False, "enable_checkpointing": False}  # disk writes would reach into the next window
        trainer = ftlight.Trainer(run=f"{run}/run", precision=PRECISION[precision], callbacks=[clock], **only)
        trainer.fit(task, datamodule=data)


def fit_bare(task: ftlight.TextClassification, data: ftlight.TextData, precision: str, clock: Clock) -> None:
    """Trains an epoch with PyTorch alone."""
    data.trainer = ftlight.Trainer(precision=PRECISION[precision])  # never fits: gives the loader its device and epoch 0
    device, norm = data.trainer.strategy.root_device, data.trainer.gradient_clip_val
    task.to(device).train()
    optimizer, loader = task.configure_optimizers(), data.train_dataloader()
    steps = len(loader)
    clock.start()
    for number, batch in enumerate(loader):
        inputs = {k: v.to(device, non_blocking=True) for k, v in batch["inputs"].items()}
        targets = batch["targets"].to(device, non_blocking=True)
        clock.count(inputs["attention_mask"], batch["index"])
        factor = optim.shape(number, steps, task.warmup, task.lr_schedule)
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):  # as Lightning's
            loss = task.loss(task(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(task.parameters(), norm)
        optimizer.step()
    clock.stop()


def report(options: argparse.Namespace, unit: str, steps: int, values: Mapping[str, Sequence[float]]) -> None:
    """Prints what the numbers hold for, the rounds of each side, and the ratios of the first side to the others."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    versions = ", ".join(f"{p} {version(p)}" for p in ("torch", "lightning", "transformers"))
    print(f"{device}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {options.precision}; {versions}")
    print(f"{options.backbone}, {steps} steps of {options.batch_size} rows, the same rows on all sides\n")
    print(f"{unit:22}" + "".join(f"{f'round {i + 1}':>9}" for i in range(options.rounds)) + f"{'median':>9}")
    for side, rounds in values.items():
        print(f"{side:22}" + "".join(f"{v:9.2f}" for v in [*rounds, statistics.median(rounds)]))
    first, *others = values
    for other in others:
        ratios = [a / b for a, b in zip(values[first], values[other], strict=True)]
        print(f"{first} / {other}: {statistics.median(ratios):.4f}, median of rounds ({min(ratios):.4f} to {max(ratios):.4f})")


def main() -> None:
    options = arguments(__doc__, steps=100, rounds=5).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps = sample(options, Path(folder))
        _, data = prepare(options, Path(folder))
        fits = {"ftlight": fit_ftlight, "bare loop": fit_bare}
        tasks, clocks = {side: make_task(options, data) for side in fits}, {side: Clock(skip=1) for side in fits}
        times: dict[str, list[float]] = {side: [] for side in fits}
        for turn in range(options.rounds + 1):  # the first is the warm-up: batches of a new shape are slow
            for side in list(fits)[:: 1 if turn % 2 else -1]:
                with contextlib.redirect_stdout(io.StringIO()):
                    fits[side](tasks[side], data, options.precision, clocks[side])
                times[side] += [clocks[side].seconds / (steps - 1) * 1000] if turn else []
            assert clocks["ftlight"].order == clocks["bare loop"].order
    report(options, "ms/step", steps, times)
    pairs = zip(*(task.parameters() for task in tasks.values()), strict=True)
    apart = max((a.detach().cpu() - b.detach().cpu()).abs().max().item() for a, b in pairs)
    print(f"largest difference between the trained weights of both sides: {apart:.2g}")


if __name__ == "__main__":
    main()
