r"""Seconds of training to a test accuracy: ftlight beside transformers' Trainer.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/time_to_accuracy.py --train banking77/train.csv \
        --test banking77/test.csv --text text --label category

- ftlight head: `unfreeze: head`, the output of the frozen backbone kept; the pass that makes it is
  part of the seconds.
- ftlight full, transformers full: all layers. Transformers' Trainer is in its best setting: grouped
  by length, fused AdamW, bf16.
- transformers head: the backbone frozen, and run at every step, since its Trainer keeps nothing.

A tenth of train is held out, the same rows on all sides. Each variant trains once per rate of its
grid (--rates, --head-rates: the same on both sides), one seed, a fixed number of epochs, in a
process of its own, the variants in turns; the run with the best validation accuracy at its end is
the one that counts. The test accuracy of that run is measured at fixed marks (MARKS times an
epoch), and at its end; test data choose nothing. Seconds are those of training, with caching,
collation and the first step; without imports, loading, tokenization and evaluation. "validated"
adds a validation after each epoch. After the first mark at the goal only the end is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from overhead import PRECISION
from torch import Tensor, nn

import ftlight
from ftlight.data import holding
from ftlight.models.layers import layer_groups
from ftlight.models.modes import evaluating
from ftlight.run import console as screen

VARIANTS = ("ftlight head", "ftlight full", "transformers head", "transformers full")
Data = dict[str, ftlight.TextData]


class Watch(L.Callback):
    """Seconds of a run without evaluation, and accuracies at marks; a callback of ftlight."""

    def __init__(
        self, task: ftlight.TextClassification, data: Data, options: argparse.Namespace
    ) -> None:
        self.task, self.data, self.options = task, data, options
        self.marks: list[tuple[float, float, float]] = []
        self.seconds = self.validating = self.accuracy = 0.0

    def start(self, steps: int) -> None:
        """Begins a run of so many steps an epoch."""
        self.per_epoch, self.begun = steps, time.perf_counter()

    def stepped(self, step: int, last: bool) -> None:
        """After a step: measures where a mark is."""
        each = max(1, self.per_epoch // self.options.marks)
        inside = step % self.per_epoch
        epoch_ends = inside == 0
        mark = last or epoch_ends or (inside % each == 0 and inside // each < self.options.marks)
        if not mark:
            return
        self.seconds += time.perf_counter() - self.begun
        if epoch_ends or last:
            begun = time.perf_counter()
            self.accuracy = self.compute_metrics("validation")
            self.validating += time.perf_counter() - begun
        if last or not self.reached():
            self.marks.append(
                (self.seconds, self.seconds + self.validating, self.compute_metrics("test"))
            )
        self.begun = time.perf_counter()

    def reached(self) -> bool:
        """Whether a mark is at the goal."""
        return any(a >= self.options.goal for *_, a in self.marks)

    def measure(self, split: str) -> float:
        """Accuracy of the model as it is."""
        right, count, device = 0, 0, next(self.task.parameters()).device
        bf16 = self.options.precision == "bf16"
        with (
            evaluating(self.task),
            torch.no_grad(),
            torch.autocast(device.type, torch.bfloat16, enabled=bf16),
        ):
            for batch in self.data[split].test_dataloader():
                logits = self.task({k: v.to(device) for k, v in batch["inputs"].items()})
                right += int((logits.argmax(-1).cpu() == batch["targets"]).sum())
                count += len(batch["index"])
        return right / count

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begins the run."""
        self.start(int(trainer.num_training_batches))

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Measures at marks."""
        self.stepped(
            trainer.global_step, trainer.global_step == self.per_epoch * (trainer.max_epochs or 0)
        )


def fit_ftlight(
    task: ftlight.TextClassification, data: Data, options: argparse.Namespace, watch: Watch
) -> None:
    """Trains with ftlight."""
    with tempfile.TemporaryDirectory() as run, contextlib.redirect_stdout(io.StringIO()):
        only = {
            "test": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "max_epochs": options.epochs,
        }
        trainer = ftlight.Trainer(
            run=f"{run}/run",
            precision=options.ours or PRECISION[options.precision],
            callbacks=[watch],
            **only,
        )
        trainer.fit(task, datamodule=data["train"])


def fit_transformers(
    task: ftlight.TextClassification, data: Data, options: argparse.Namespace, watch: Watch
) -> None:
    """Trains the same model with transformers' Trainer."""
    import transformers

    if options.variant.endswith("head"):
        head = layer_groups(task.model)["head"]
        for name, parameter in task.model.named_parameters():
            parameter.requires_grad_(name in head)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = task.model

        def forward(
            self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor
        ) -> dict[str, Tensor]:
            logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits.float()
            return {"loss": task.loss(logits, labels), "logits": logits}

    class Marks(transformers.TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            watch.start(state.max_steps // options.epochs)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            watch.stepped(state.global_step, state.global_step == state.max_steps)

    encoded = data["train"].sets["train"]
    rows = encoded.columns.add_column("labels", encoded.targets)
    size = {
        "per_device_train_batch_size": options.batch_size,
        "num_train_epochs": options.epochs,
        "learning_rate": options.rate,
    }
    shape = {
        "warmup_steps": task.warmup,
        "weight_decay": task.weight_decay,
        "lr_scheduler_type": "linear",
        "optim": "adamw_torch_fused",
    }
    place = {
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": not torch.accelerator.is_available(),
        "disable_tqdm": True,
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        args = transformers.TrainingArguments(
            output_dir=folder,
            bf16=options.precision == "bf16",
            train_sampling_strategy="group_by_length",
            **size,
            **shape,
            **place,
        )
        tokenizer = data["train"].tokenizer
        collator = transformers.DataCollatorWithPadding(tokenizer)
        transformers.Trainer(
            Model(), args, collator, rows, processing_class=tokenizer, callbacks=[Marks()]
        ).train()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Trains a variant in this process at one rate."""
    if options.variant.endswith("head"):
        options.batch_size, options.epochs = options.head_batch_size, options.head_epochs
    shared = {"kind": "single", "tokenizer": options.backbone, "batch_size": options.batch_size}
    train = ftlight.TextData(f"{options.folder}/train.csv", validation_split=0, **shared)
    train.setup("fit")
    data = {"train": train}
    for split in ("validation", "test"):
        data[split] = ftlight.TextData(
            test=f"{options.folder}/{split}.csv",
            labels=train.labels,
            **{**shared, "batch_size": 128},
        )
        data[split].setup("test")
    torch.manual_seed(0)
    about = {"lr": options.rate, "unfreeze": "head" if options.variant == "ftlight head" else "all"}
    about["kernels"] = "auto" if options.variant.startswith("ftlight") else "stock"
    task = ftlight.TextClassification(
        options.backbone, pooling="mean", labels=train.labels, **about
    )
    watch = Watch(task, data, options)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["FTLIGHT_CACHE"] = cache
        (fit_ftlight if options.variant.startswith("ftlight") else fit_transformers)(
            task, data, options, watch
        )
    return {"validation": watch.accuracy, "marks": watch.marks}


def write(options: argparse.Namespace, folder: Path) -> None:
    """Writes the rows to train on, to choose by, and to test."""
    screen.silence_libraries()
    files = {"train": options.train, "test": options.test}
    both = ftlight.TextData(
        **files, text=options.text, label=options.label, kind="single", validation_split=0
    )
    table = both.load_split("train").shuffle(seed=0)
    table = table.select(range(min(options.rows or len(table), len(table))))
    kept, held = holding.hold_out(table["label"], len(table), 0.1, 0)
    for split, part in {
        "train": table.select(kept),
        "validation": table.select(held),
        "test": both.load_split("test"),
    }.items():
        part.to_csv(folder / f"{split}.csv")


def run(options: argparse.Namespace, variant: str, rate: float, folder: str) -> dict[str, Any]:
    """Runs a variant in a process of its own."""
    command = [
        sys.executable,
        __file__,
        *sys.argv[1:],
        "--variant",
        variant,
        "--rate",
        str(rate),
        "--folder",
        folder,
    ]
    environment = {**os.environ, "HF_DATASETS_CACHE": f"{folder}/cache"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{variant} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    last = found["marks"][-1]
    print(
        f"{variant}, lr {rate:g}: validation {found['validation']:.4f}, test {last[2]:.4f}, "
        f"{last[0]:.1f} s",
        flush=True,
    )
    return {**found, "rate": rate}


def report(options: argparse.Namespace, runs: dict[str, list[dict[str, Any]]]) -> None:
    """Prints the chosen run of each variant, and how many times as fast ours are."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    threads = torch.get_num_threads()
    kind = " and ".join({options.precision, options.ours or options.precision})
    print(
        f"\n{device}, {os.cpu_count()} cores, {threads} threads, {kind}, torch {torch.__version__}"
    )
    head = f"{options.head_batch_size}, {options.head_epochs} epochs"
    print(
        f"{options.backbone}, batches of {options.batch_size}, "
        f"{options.epochs} epochs (head alone: {head})\n"
    )
    goal, reached = f"{options.goal:g} at s", {}
    print(
        f"{'':20}{'lr':>8}{'validation':>12}{goal:>12}{'validated':>11}{'final test':>12}"
        f"{'at s':>8}{'validated':>11}"
    )
    for variant, made in runs.items():
        best = max(made, key=lambda r: r["validation"])
        first = next((m for m in best["marks"] if m[2] >= options.goal), None)
        reached[variant] = first[0] if first else float("inf")
        when = f"{first[0]:12.1f}{first[1]:11.1f}" if first else f"{'never':>12}{'':11}"
        last = best["marks"][-1]
        print(
            f"{variant:20}{best['rate']:8g}{best['validation']:12.4f}{when}{last[2]:12.4f}"
            f"{last[0]:8.1f}{last[1]:11.1f}"
        )
    for ours in (v for v in runs if v.startswith("ftlight")):
        for other in (
            v for v in runs if v.startswith("transformers") and reached[v] < float("inf")
        ):
            if reached[ours] < float("inf"):
                print(
                    f"{ours} is {reached[other] / reached[ours]:.2f} x as fast to {options.goal:g} "
                    f"as {other}"
                )


def main() -> None:
    """Runs all variants at all rates and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words = {
        "train": "training data, a CSV",
        "test": "test data",
        "text": "column of the text",
        "label": "column of the label",
    }
    for name, what in words.items():
        parser.add_argument(f"--{name}", required=True, help=what)
    parser.add_argument(
        "--backbone", default="sentence-transformers/all-MiniLM-L6-v2", help="hub id or folder"
    )
    for name, value in {
        "batch-size": 32,
        "head-batch-size": 128,
        "epochs": 3,
        "head-epochs": 5,
        "marks": 2,
        "rows": 0,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"({value})")
    parser.add_argument("--goal", type=float, default=0.92, help="test accuracy to reach (0.92)")
    parser.add_argument(
        "--rates",
        type=float,
        nargs="+",
        default=[1e-4, 2e-4, 4e-4],
        help="grid of full fine-tuning, on both sides",
    )
    parser.add_argument(
        "--head-rates",
        type=float,
        nargs="+",
        default=[1e-2, 3e-2, 1e-1],
        help="grid of the head alone, on both sides",
    )
    parser.add_argument(
        "--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="variants to run"
    )
    parser.add_argument("--precision", choices=PRECISION, default="bf16")
    parser.add_argument(
        "--ours", help="precision of ftlight, such as bf16-master (that of --precision)"
    )
    for hidden, kind in {"variant": str, "folder": str, "rate": float}.items():
        parser.add_argument(f"--{hidden}", type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print("\n" + json.dumps(measure(options)))
        return
    runs: dict[str, list[dict[str, Any]]] = {v: [] for v in options.only}
    with tempfile.TemporaryDirectory() as folder:
        write(options, Path(folder))
        for turn in range(max(len(options.rates), len(options.head_rates))):
            for variant in options.only:
                grid = options.head_rates if variant.endswith("head") else options.rates
                if turn < len(grid):
                    runs[variant].append(run(options, variant, grid[turn], folder))
    report(options, runs)


if __name__ == "__main__":
    main()
