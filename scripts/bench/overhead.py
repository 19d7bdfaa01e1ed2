"""ftlight's own cost: milliseconds per step of ftlight.Trainer over a bare PyTorch loop that does the same work.

Both sides have a model of the same type and weights, the data module's batches in the same order, the same fused AdamW with
the same groups, the same clipping, autocast and learning rates. In one process, after a warm-up, each round trains one epoch
of STEPS batches on each side, in turns first. The time is that of the epoch up to the end of its last step, without
checkpoints. At the end the weights of both sides are compared: they did the same work if they are the same.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
from pathlib import Path
from typing import Any

import lightning as L
import torch
from throughput import PRECISION, Clock, arguments, fit_ftlight, heading, make_task, prepare, sample
from torch import nn

import ftlight
from ftlight import optim


class Recorder(Clock):
    """A clock that keeps the order of rows, and seeds dropout at the first batch."""

    def begin(self, number: int, batch: dict[str, Any]) -> None:
        """Notes the start of a step."""
        if number == 0:
            self.order: list[list[int]] = []
            torch.manual_seed(0)
        self.order.append(batch["index"])

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Notes the start of a step."""
        self.begin(batch_idx, batch)


def fit_bare(task: ftlight.TextClassification, data: ftlight.TextData, precision: str, clock: Recorder) -> None:
    """Trains an epoch with PyTorch alone."""
    data.trainer = ftlight.Trainer(precision=PRECISION[precision])  # never fits: gives the loader its device and epoch 0
    device, norm = data.trainer.strategy.root_device, data.trainer.gradient_clip_val
    task.to(device).train()
    optimizer, loader = task.configure_optimizers(), data.train_dataloader()
    steps = len(loader)
    clock.start()
    for number, batch in enumerate(loader):
        clock.begin(number, batch)
        factor = optim.shape(number, steps, task.warmup, task.lr_schedule)
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        inputs = {k: v.to(device, non_blocking=True) for k, v in batch["inputs"].items()}
        targets = batch["targets"].to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
            loss = task.loss(task(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(task.parameters(), norm)
        optimizer.step()
        clock.count(inputs["attention_mask"])
    clock.stop()


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(steps=100, rounds=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps = sample(options, Path(folder))
        warm, data = prepare(options, Path(folder))
        fits = {"ftlight": fit_ftlight, "bare": fit_bare}
        tasks = {side: make_task(options, data) for side in fits}
        clocks = {side: Recorder() for side in fits}
        times: dict[str, list[float]] = {side: [] for side in fits}
        for turn in range(options.rounds + 1):  # the first is the warm-up
            for side in list(fits)[:: 1 if turn % 2 else -1]:
                with contextlib.redirect_stdout(io.StringIO()):
                    fits[side](tasks[side], data if turn else warm, options.precision, clocks[side])
                if turn:
                    times[side].append(clocks[side].seconds / steps * 1000)
            assert clocks["ftlight"].order == clocks["bare"].order

    print(heading(options, steps))
    print(f"{'ms/step':10}" + "".join(f"{f'round {i + 1}':>9}" for i in range(options.rounds)) + f"{'median':>9}")
    for side, values in times.items():
        print(f"{side:10}" + "".join(f"{v:9.2f}" for v in [*values, statistics.median(values)]))
    ratios = [a / b for a, b in zip(times["ftlight"], times["bare"], strict=True)]
    print(f"ftlight / bare: {statistics.median(ratios):.4f}, median of rounds ({min(ratios):.4f} to {max(ratios):.4f})")
    pairs = zip(tasks["ftlight"].parameters(), tasks["bare"].parameters(), strict=True)
    apart = max((a.detach().cpu() - b.detach().cpu()).abs().max().item() for a, b in pairs)
    print(f"largest difference between the trained weights of both sides: {apart:.2g}")


if __name__ == "__main__":
    main()
