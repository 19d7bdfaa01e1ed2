"""Overhead of ftlight.Trainer per step, over a bare PyTorch loop that does the same work.

Both sides have a model of the same type and weights, the data module's batches in the same order,
the same fused AdamW with the same groups, the same clipping, autocast, learning rates and random
numbers in a step. ftlight logs to metrics.csv as it always does; ``--log-every 1`` logs every step.
In one process, each round trains one epoch of STEPS batches on each side, in turns first; a round
before them warms up. The time is that of the epoch from its second step, since the first allocates
the optimizer's state, to the end of its last; no checkpoints are written. At the end the weights of
both sides are compared: they did the same work if they are the same. ``--backbone tiny`` makes a
BERT of two layers 32 wide, whose step is mostly overhead.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
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
from ftlight.data import files
from ftlight.freezing import rates
from ftlight.models import loading
from ftlight.models.layers import layer_groups
from ftlight.run import console as screen
from ftlight.training import optim, seeding

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

    def count(self, ids: Tensor, rows: Sequence[int] = ()) -> None:
        """Counts a batch by a tensor ``[rows, tokens]``, at its start."""
        if self.skip and len(self.order) == self.skip:
            self.begun = self._now()
        self.rows, self.tokens = self.rows + len(ids), self.tokens + ids.numel()
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

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Counts the batch."""
        self.count(batch["inputs"]["input_ids"], batch.get("index", ()))

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Ends the window at the last batch."""
        if batch_idx + 1 == trainer.num_training_batches:
            self.stop()


def timing(clock: Clock) -> Any:
    """The clock as a callback of transformers' Trainer: from its last epoch to its last step."""
    import transformers

    class Timing(transformers.TrainerCallback):
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            clock.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == state.max_steps:
                clock.stop()

    return Timing()


def arguments(doc: str | None, steps: int, rounds: int) -> argparse.ArgumentParser:
    """The command line, with default steps and rounds."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--train", required=True, help="training data: CSV, TSV, JSONL or Parquet (or .gz)"
    )
    parser.add_argument("--text", default="text", help="column of the text")
    parser.add_argument(
        "--label",
        help="column of the label (default: whether the number of characters is even)",
    )
    parser.add_argument("--max-length", type=int, help="the most tokens of a text")
    parser.add_argument(
        "--backbone", default="sentence-transformers/all-MiniLM-L6-v2", help="hub id or folder"
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--steps", type=int, default=steps, help=f"batches of a measured epoch ({steps})"
    )
    parser.add_argument(
        "--rounds", type=int, default=rounds, help=f"times each side is measured ({rounds})"
    )
    parser.add_argument("--precision", choices=PRECISION, default="fp32")
    return parser


def sample(options: argparse.Namespace, folder: Path) -> int:
    """Writes random rows for the epoch and for the warm-up; returns the number of full batches."""
    screen.silence_libraries()
    read = [
        (r[options.text], r[options.label] if options.label else len(r[options.text]) % 2)
        for r in files.read(Path(options.train))
    ]
    steps = min(options.steps, len(read) // options.batch_size)
    if steps < 2:
        raise SystemExit(f"{options.train} has {len(read)} rows, less than two batches")
    chosen = np.random.default_rng(0).permutation(len(read))[: steps * options.batch_size]
    for name, rows in {"rows.csv": chosen, "warm.csv": chosen[: WARM * options.batch_size]}.items():
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *(read[i] for i in rows)])
    return steps


def prepare(options: argparse.Namespace, folder: Path) -> list[ftlight.TextData]:
    """Tokenized data of the warm-up and of the epoch."""
    shared = {
        "kind": "single",
        "validation_split": 0,
        "batch_size": options.batch_size,
        "tokenizer": options.backbone,
    }
    shared["max_length"] = options.max_length
    data = ftlight.TextData(str(folder / "rows.csv"), **shared)
    made = [ftlight.TextData(str(folder / "warm.csv"), labels=data.labels, **shared), data]
    for each in made:
        each.setup("fit")
    return made


def make_task(
    options: argparse.Namespace, data: ftlight.TextData, **about: str
) -> ftlight.TextClassification:
    """The model, always from the same numbers."""
    torch.manual_seed(0)
    return ftlight.TextClassification(options.backbone, pooling="mean", labels=data.labels, **about)


def fit_ftlight(
    task: ftlight.Task, data: ftlight.TextData, precision: str, clock: Clock, log_every: int = 50
) -> None:
    """Trains an epoch with ftlight."""
    with tempfile.TemporaryDirectory() as run:
        about = {"max_epochs": 1, "test": False, "save_every": "9h", "log_every_n_steps": log_every}
        trainer = ftlight.Trainer(
            run=f"{run}/run",
            precision=PRECISION.get(precision, precision),
            callbacks=[clock],
            **about,
        )
        trainer.fit(task, datamodule=data)
        os.sync()  # its checkpoint would be written in the next window


def fit_bare(
    task: ftlight.TextClassification, data: ftlight.TextData, precision: str, clock: Clock
) -> None:
    """Trains an epoch with PyTorch alone."""
    data.trainer = ftlight.Trainer(
        precision=PRECISION[precision]
    )  # never fits: gives the loader its device and epoch 0
    device, norm = data.trainer.strategy.root_device, data.trainer.gradient_clip_val
    task.to(device).train()
    optimizer = torch.optim.AdamW(
        optim.groups(task.model, layer_groups(task.model), task.weight_decay), fused=True
    )
    loader = data.train_dataloader()
    steps = len(loader)
    clock.start()
    for number, batch in enumerate(loader):
        inputs = {k: v.to(device, non_blocking=True) for k, v in batch["inputs"].items()}
        targets = batch["targets"].to(device, non_blocking=True)
        clock.count(inputs["attention_mask"], batch["index"])
        seeding.seed(device.type, 0, seeding.TRAIN, 0, number, 0)
        for group in optimizer.param_groups:
            group["lr"] = task.lr * rates.lr_factor(number, steps, task.warmup, task.lr_schedule)
        with torch.autocast(
            device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False
        ):  # as Lightning's
            loss = task.loss(task(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(task.parameters(), norm)
        optimizer.step()
    clock.stop()


def report(
    options: argparse.Namespace, unit: str, steps: int, values: Mapping[str, Sequence[float]]
) -> None:
    """Prints the settings, the rounds of each side, and ratios of the first side to the others."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    versions = ", ".join(f"{p} {version(p)}" for p in ("torch", "lightning", "transformers"))
    print(
        f"{device}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{options.precision}; {versions}"
    )
    print(
        f"{options.backbone}, {steps} steps of {options.batch_size} rows, "
        "the same rows on all sides\n"
    )
    first, *others = values
    table(unit, values, [first], others)


def table(
    unit: str, values: Mapping[str, Sequence[float]], ours: Sequence[str], others: Sequence[str]
) -> None:
    """Prints the rounds of each side with their median, and the ratios of some sides to others."""
    width = max(22, *(len(side) + 2 for side in values))
    print(
        f"{unit:{width}}"
        + "".join(f"{f'round {i + 1}':>9}" for i in range(len(values[ours[0]])))
        + f"{'median':>9}"
    )
    for side, rounds in values.items():
        print(
            f"{side:{width}}" + "".join(f"{v:9.2f}" for v in [*rounds, statistics.median(rounds)])
        )
    for one in ours:
        for other in others:
            ratios = [a / b for a, b in zip(values[one], values[other], strict=True)]
            print(
                f"{one} / {other}: {statistics.median(ratios):.4f}, "
                f"median of rounds ({min(ratios):.4f} to {max(ratios):.4f})"
            )


def tiny(folder: Path) -> str:
    """Writes a BERT so small that a step is mostly overhead; returns its folder."""
    from transformers import BertConfig, BertModel

    name = "sentence-transformers/all-MiniLM-L6-v2"
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    BertModel(BertConfig(vocab_size=30522, **sizes)).save_pretrained(folder)
    loading.load_tokenizer(name).save_pretrained(folder)
    return str(folder)


def main() -> None:
    parser = arguments(__doc__, steps=100, rounds=5)
    parser.add_argument(
        "--log-every", type=int, default=50, help="steps between logged losses (50)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.backbone == "tiny":
            options.backbone = tiny(Path(folder, "tiny"))
        steps = sample(options, Path(folder))
        _, data = prepare(options, Path(folder))
        fits = {"ftlight": fit_ftlight, "bare loop": fit_bare}
        tasks = {side: make_task(options, data) for side in fits}
        clocks = {side: Clock(skip=1) for side in fits}
        times: dict[str, list[float]] = {side: [] for side in fits}
        for turn in range(
            options.rounds + 1
        ):  # the first is the warm-up: batches of a new shape are slow
            for side in list(fits)[:: 1 if turn % 2 else -1]:
                with contextlib.redirect_stdout(io.StringIO()):
                    logging = {"log_every": options.log_every} if side == "ftlight" else {}
                    fits[side](tasks[side], data, options.precision, clocks[side], **logging)
                times[side] += [clocks[side].seconds / (steps - 1) * 1000] if turn else []
            assert clocks["ftlight"].order == clocks["bare loop"].order
    report(options, "ms/step", steps, times)
    pairs = zip(*(task.parameters() for task in tasks.values()), strict=True)
    apart = max((a.detach().cpu() - b.detach().cpu()).abs().max().item() for a, b in pairs)
    print(f"largest difference between the trained weights of both sides: {apart:.2g}")


if __name__ == "__main__":
    main()
