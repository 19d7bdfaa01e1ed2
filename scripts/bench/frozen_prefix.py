r"""What the cache of frozen layers saves: time per step, bytes on the disk, whole runs of lp_ft.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/frozen_prefix.py --train banking77/train.csv \
        --text text --label category
    OMP_WAIT_POLICY=PASSIVE python scripts/bench/frozen_prefix.py --train … --text … --label … \
        --test banking77/test.csv --runs

Steps: full fine-tuning, and head, last:1 and last:2 with and without the cache, each trained by an
ftlight.Trainer of its own. All train in one process, in threads of which one runs at a time: each
variant takes TURN steps, then the next takes its own on the same rows, and who begins moves on. A
step is forward, backward, clipping, fused AdamW and Lightning's hooks, with the reading of kept
activations; "and next batch" adds Lightning's loop and the collation of a batch. Ratios are medians
over steps, each over the other variant's step on the same rows. A round is STEPS batches of an
epoch; the first warms up, fills the cache and does not count. Dropout is seeded by the step, so
that cached and uncached variants must end with the same weights, to rounding.

Bytes: the files against rows x width x 4 (head) and tokens x width x 4 (layers), with the tokens
counted by the tokenizer alone. --runs, instead of both: lp_ft and full fine-tuning with the same
max_epochs and else the defaults, alternating over seeds 0, 1, 2.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import os
import tempfile
import threading
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

import lightning as L
import numpy as np
import schedules
import torch
from transformers import AutoTokenizer

import ftlight
from ftlight.data import tokens
from ftlight.freezing import callback
from ftlight.freezing.identity import FIXED
from ftlight.models import loading

TARGETS = {
    "head": 100,
    "last:1": 6,
    "last:2": 3,
}  # times as fast as full fine-tuning, with the cache
VARIANTS = {"full": ("all", False)} | {
    f"{word}{', cached' * on}": (word, on) for word in TARGETS for on in (False, True)
}


def now() -> float:
    """Seconds, once the device has done what it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


class Lane(L.Callback):
    """A variant with its own trainer, in a thread that waits to be told to take a step."""

    def __init__(
        self,
        options: argparse.Namespace,
        data: ftlight.TextData,
        run: Path,
        unfreeze: str,
        cache: bool,
    ) -> None:
        self.cache = cache
        self.steps = list[float]()
        self.whole = list[float]()
        self.order = list[list[int]]()
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.error: BaseException | None = None
        torch.manual_seed(0)
        self.task = ftlight.TextClassification(
            options.backbone, pooling="mean", labels=data.labels, unfreeze=unfreeze, cache=cache
        )
        limits = {
            "max_epochs": options.rounds + 1,
            "limit_train_batches": options.steps,
            "test": False,
            "enable_checkpointing": False,
        }
        self.trainer = ftlight.Trainer(
            run=str(run),
            precision=options.precision,
            callbacks=[self],
            enable_progress_bar=False,
            **limits,
        )
        self.data = copy.copy(data)
        threading.Thread(target=self._fit, daemon=True).start()

    def _fit(self) -> None:
        self.go.acquire()
        try:
            self.trainer.fit(self.task, datamodule=self.data)
        except BaseException as error:
            self.error = error
        self.done.release()

    def advance(self, steps: int) -> None:
        """Lets the thread take steps, to the start of the one after them, or to its end."""
        for _ in range(steps):
            self.go.release()
            self.done.acquire()
            if self.error is not None:
                raise self.error

    def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, batch_idx: int) -> None:
        """Waits for its turn; runs before the schedule's own hook, which reads what is kept."""
        if batch_idx:
            self.whole.append(now() - self.begun)
        self.done.release()
        self.go.acquire()
        torch.manual_seed(trainer.global_step)
        self.order.append(batch["index"])
        self.begun = now()

    def on_train_batch_end(
        self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ends the step; fails if the cache is on in a variant without, or off in one with it."""
        self.steps.append(now() - self.begun)
        cached = callback.of(trainer).prefix_cache
        if bool(cached.stores) != self.cache:
            raise SystemExit(f"{task.schedule}: the cache is {'off' if self.cache else 'on'}")
        self.file = cached.paths[FIXED] if self.cache else Path()


def train(options: argparse.Namespace, folder: Path) -> dict[str, Lane]:
    """Trains all variants, a few steps of each at a time."""
    shared = {
        "kind": "single",
        "validation_split": 0,
        "batch_size": options.batch_size,
        "tokenizer": options.backbone,
    }
    data = ftlight.TextData(options.train, text=options.text, label=options.label, **shared)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        data.setup("fit")
        options.steps = min(options.steps, len(data.train_dataloader()))
        made = {
            v: Lane(options, data, folder / f"run{i}", *how)
            for i, (v, how) in enumerate(VARIANTS.items())
        }
        lanes, total = list(made.values()), options.steps * (options.rounds + 1)
        try:
            for lane in lanes:
                lane.advance(1)  # to the start of its first step
            for first in range(0, total, options.turn):
                lanes = [*lanes[1:], lanes[0]]
                for lane in lanes:
                    lane.advance(min(options.turn, total - first))
        except SystemExit as error:
            raise SystemExit(f"{error}\n{said.getvalue()}") from None
    assert all(lane.order == lanes[0].order for lane in lanes)
    return made


def report_steps(options: argparse.Namespace, lanes: dict[str, Lane]) -> None:
    """Prints steps, targets, and the difference in weights between cached and uncached variants."""
    skip = options.steps  # the round that warms up
    times = {
        name: (np.array(lane.steps[skip:]), np.array(lane.whole[skip - 1 :]))
        for name, lane in lanes.items()
    }
    print(
        f"{options.backbone}, {options.rounds} rounds of {skip} steps of {options.batch_size} "
        f"rows, {options.precision};",
        end=" ",
    )
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print(
        f"{'':16}{'ms/step':>10}{'x full':>9}{'x uncached':>12}   and next "
        f"batch:{'ms/step':>9}{'x full':>9}"
    )
    for name, (steps, whole) in times.items():
        gain = np.median(times[name.removesuffix(", cached")][0] / steps)
        also = f"{np.median(whole) * 1000:25.2f}{np.median(times['full'][1] / whole):9.2f}"
        full = np.median(times["full"][0] / steps)
        print(
            f"{name:16}{np.median(steps) * 1000:10.2f}{full:9.2f}"
            f"{f'{gain:.2f}' * lanes[name].cache:>12}  {also}"
        )
    print()
    for name, target in TARGETS.items():
        ratios = times["full"][0] / times[f"{name}, cached"][0]
        found, rounds = np.median(ratios), np.median(ratios.reshape(options.rounds, skip), 1)
        pairs = zip(
            lanes[name].task.parameters(), lanes[f"{name}, cached"].task.parameters(), strict=True
        )
        apart = max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs)
        said = (
            f"{found:.1f} x full (rounds {min(rounds):.1f} to {max(rounds):.1f}), target {target}"
        )
        print(
            f"{name}, cached: {said}: {'met' if found >= target else 'missed'}; "
            f"weights with and without {apart:.1g} apart at most"
        )


def report_bytes(options: argparse.Namespace, lanes: dict[str, Lane]) -> None:
    """Prints the size of each file against the prediction."""
    tokenizer = AutoTokenizer.from_pretrained(loading.locate(options.backbone))
    texts = lanes["full"].data.load_split("train")["text"][:]
    encoded = tokenizer(texts, truncation=True, max_length=tokens.max_length(options.backbone))[
        "input_ids"
    ]
    count, width = sum(map(len, encoded)), loading.width(options.backbone)
    print(
        f"\n{len(texts):,} rows, {count:,} tokens, width "
        f"{width}\n{'':10}{'bytes on disk':>16}{'predicted':>16}{'difference':>12}"
    )
    for name in TARGETS:
        size = lanes[f"{name}, cached"].file.stat().st_size
        expected = (len(texts) if name == "head" else count) * width * 4
        print(f"{name:10}{size:16,}{expected:16,}{size / expected - 1:12.2%}")


def compare_runs(options: argparse.Namespace, folder: Path) -> None:
    """Prints accuracy and wall seconds of whole runs."""
    files = {k: getattr(options, k) for k in ("train", "test", "text", "label")}
    ftlight.TextData(**files, tokenizer=options.backbone).setup("fit")  # no run has to tokenize
    given = {
        "model": "TextClassification",
        "model.backbone": options.backbone,
        **{f"data.{k}": v for k, v in files.items()},
    }
    given |= {"trainer.max_epochs": options.epochs, "trainer.precision": options.precision}
    words = [word for k, v in given.items() for word in (f"--{k}", str(v))]
    found: dict[str, list[schedules.Cell]] = {"all": [], "lp_ft": []}
    for seed in (0, 1, 2):
        for word in list(found)[:: -1 if seed % 2 else 1]:
            cell = schedules.fit(
                [*words, "--seed", str(seed), "--model.unfreeze", word], folder / f"{word}-{seed}"
            )
            found[word].append(cell)
            print(
                f"seed {seed}, {word}: test accuracy {cell['accuracy']:.4f}, "
                f"{cell['seconds']:.0f} s",
                flush=True,
            )
    for word, cells in found.items():
        for name, digits in (("accuracy", 4), ("seconds", 0)):
            values = [cell[name] for cell in cells]
            print(
                f"{word}: {name} {mean(values):.{digits}f} ({min(values):.{digits}f} to "
                f"{max(values):.{digits}f})"
            )
    ratios = [
        b["seconds"] / a["seconds"] for a, b in zip(found["all"], found["lp_ft"], strict=True)
    ]
    print(
        f"lp_ft takes {median(ratios):.3f} x the time of all, "
        f"median of seeds ({min(ratios):.3f} to {max(ratios):.3f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, what in {
        "train": "training data",
        "test": "test data, for --runs",
        "text": "column",
        "label": "column",
    }.items():
        parser.add_argument(f"--{name}", required=name != "test", help=what)
    numbers = {"batch-size": 32, "steps": 20, "rounds": 5, "turn": 5, "epochs": 5}
    for name, value in {
        "backbone": "sentence-transformers/all-MiniLM-L6-v2",
        "precision": "32-true",
        **numbers,
    }.items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"({value})")
    parser.add_argument(
        "--runs", action="store_true", help="measure whole runs instead of steps and bytes"
    )
    options = parser.parse_args()
    if options.runs and not options.test:
        parser.error("--runs needs --test")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FTLIGHT_CACHE"] = f"{folder}/cache"
        if options.runs:
            return compare_runs(options, Path(folder))
        lanes = train(options, Path(folder))
        report_steps(options, lanes)
        return report_bytes(options, lanes)


if __name__ == "__main__":
    main()
