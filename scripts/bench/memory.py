r"""Peak memory of training the last layers against full fine-tuning, by kind of tensor.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/memory.py --train banking77/train.csv \
        --text text --label category

Each variant trains STEPS steps with ftlight.Trainer in a process of its own, on batches of
BATCH_SIZE rows as they are ("short") and on batches whose rows are joined until they have
--max-length tokens ("long"). Counted is each byte that torch allocates and frees (on the CPU every
event of torch.profiler with profile_memory, on a GPU torch.cuda.max_memory_allocated), from the
first step on, on top of the weights: so with the temporaries inside of operators, without the
interpreter, libraries, tokenized rows and files mapped into memory. With the cache the frozen
layers have run before the first step; their weights stay in memory and count.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import lightning as L
import torch
from overhead import PRECISION
from torch import Tensor

import ftlight

TARGET = 0.5
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {"unfreeze": "all", "cache": False},
    "last:2": {"unfreeze": "last:2", "cache": False},
    "last:2, cached": {"unfreeze": "last:2", "cache": True},
    "head": {"unfreeze": "head", "cache": False},
}


def size(tensors: Any) -> int:
    """Bytes of tensors."""
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))


class Peak(L.Callback):
    """The most bytes that are held between the first step and the last, and what they are."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.found: dict[str, int] = {}
        self.profiler = torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        )

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begins to count."""
        if batch_idx == 0:
            self.found["weights"] = size([*pl_module.parameters(), *pl_module.buffers()])
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            else:
                self.profiler.start()

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any
    ) -> None:
        """Notes the gradients."""
        self.found["gradients"] = size(p.grad for p in pl_module.parameters())

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Ends counting."""
        if batch_idx + 1 < self.steps:
            return
        state = trainer.optimizers[0].state.values()
        self.found["optimizer"] = size(t for values in state for t in values.values())
        if torch.cuda.is_available():
            self.found["peak"] = torch.cuda.max_memory_allocated()
            return
        self.profiler.stop()
        made: Any = self.profiler.profiler
        events = [e for e in made.kineto_results.events() if e.name() == "[memory]"]
        events.sort(key=lambda e: e.start_ns())
        self.found["peak"] = self.found["weights"] + max(
            itertools.accumulate(e.nbytes() for e in events)
        )


def write(options: argparse.Namespace, folder: Path) -> None:
    """Writes rows as they are, and rows joined until they are long."""
    data = ftlight.TextData(
        options.train, text=options.text, label=options.label, kind="single", validation_split=0
    )
    count = options.batch_size * options.steps
    rows = data.load_split("train").shuffle(seed=0)
    for name, words in {"short": 1, "long": options.max_length}.items():
        pieces = iter(itertools.cycle(rows["text"][:]))
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["text", "label"])
            for label in rows["label"][:count]:
                text = next(pieces)
                while len(text.split()) < words:
                    text += " " + next(pieces)
                table.writerow([text, label])


def measure(options: argparse.Namespace) -> dict[str, int]:
    """Trains a variant in this process. Returns its bytes."""
    data = ftlight.TextData(
        f"{options.folder}/{options.rows}.csv",
        kind="single",
        max_length=options.max_length,
        validation_split=0,
        batch_size=options.batch_size,
        tokenizer=options.backbone,
    )
    peak = Peak(options.steps)
    with tempfile.TemporaryDirectory() as run, contextlib.redirect_stdout(io.StringIO()):
        data.setup("fit")
        torch.manual_seed(0)
        task = ftlight.TextClassification(
            options.backbone, pooling="mean", labels=data.labels, **VARIANTS[options.variant]
        )
        only = {
            "max_epochs": 1,
            "test": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
        }
        ftlight.Trainer(
            run=f"{run}/run", precision=PRECISION[options.precision], callbacks=[peak], **only
        ).fit(task, datamodule=data)
    return peak.found


def main() -> None:
    """Measures all variants and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, what in {
        "train": "training data, a CSV",
        "text": "column of the text",
        "label": "column of the label",
    }.items():
        parser.add_argument(f"--{name}", required=True, help=what)
    parser.add_argument(
        "--backbone", default="sentence-transformers/all-MiniLM-L6-v2", help="hub id or folder"
    )
    for name, value in {"batch-size": 32, "steps": 3, "max-length": 256}.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"({value})")
    parser.add_argument("--precision", choices=PRECISION, default="fp32")
    for hidden in ("--variant", "--rows", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print("\n" + json.dumps(measure(options)))
        return
    print(
        f"{'cuda' if torch.cuda.is_available() else 'cpu'}, {options.precision}, "
        f"torch {torch.__version__}, {options.batch_size} rows",
        end="; MB\n",
    )
    print(
        f"{'rows':6}{'trains':18}{'weights':>9}{'gradients':>11}{'optimizer':>11}"
        f"{'rest at peak':>14}{'peak':>8}{'x full':>8}"
    )
    with tempfile.TemporaryDirectory() as folder:
        write(options, Path(folder))
        environment = {
            **os.environ,
            "FTLIGHT_CACHE": f"{folder}/cache",
            "HF_DATASETS_CACHE": f"{folder}/datasets",
        }
        for rows in ("short", "long"):
            full = 0
            for variant in VARIANTS:
                command = [
                    sys.executable,
                    __file__,
                    *sys.argv[1:],
                    "--variant",
                    variant,
                    "--rows",
                    rows,
                    "--folder",
                    folder,
                ]
                done = subprocess.run(command, env=environment, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"{variant} failed:\n{done.stderr}")
                found = json.loads(done.stdout.splitlines()[-1])
                full = full or found["peak"]
                parts = [found[k] for k in ("weights", "gradients", "optimizer")]
                w, g, o, rest, peak = (
                    n / 1e6 for n in (*parts, found["peak"] - sum(parts), found["peak"])
                )
                share = found["peak"] / full
                said = (
                    f" {'met' if share <= TARGET else 'missed'}"
                    if variant.startswith("last")
                    else ""
                )
                print(
                    f"{rows:6}{variant:18}{w:9.1f}{g:11.1f}{o:11.1f}{rest:14.1f}{peak:8.1f}"
                    f"{share:8.3f}{said}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
