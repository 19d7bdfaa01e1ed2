r"""What kept draws of augmented images save: seconds of an epoch and of a run, accuracy, bytes.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/draws.py --out runs/draws --train trashnet.zip \
        --backbone mobilenet_v2

A cell is a whole run in a process of its own, with light augmentation, a validation after each
epoch, a test at the end and an empty cache: `all`, and each other schedule twice, with the output
of its frozen layers kept and with model.cache: false, on the same rows. Cells go seed by seed, and
who begins moves on. A finished cell is a line of OUT/cells.jsonl and is not run again.

Filling: the median epoch among the first DRAWS, each of which fills a file and reads it. Repeated:
the median of those after. Both are wall time with reading, augmentation, the optimizer and the
validation; the run is that of fit alone, without imports. CPU is the same epochs in seconds of all
cores together, which other work on the machine changes less. With --images a random part of the
training images, and a quarter as many of each other split, written as files, stand for all.
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
import zipfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}
Cell = dict[str, Any]


def sample(options: argparse.Namespace, folder: Path) -> None:
    """Writes a random part of the images of each split into folders of splits and classes."""
    with zipfile.ZipFile(options.train) as file:
        names = sorted(n for n in file.namelist() if n.lower().endswith((".jpg", ".jpeg", ".png")))
        for split in ("train", "val", "test"):
            own = [n for n in names if split in n.split("/")]
            count = options.images if split == "train" else options.images // 4
            for i in np.random.default_rng(0).permutation(len(own))[:count]:
                place = folder.joinpath(split, *own[i].split("/")[-2:])
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(file.read(own[i]))


def fit(options: argparse.Namespace, schedule: str, kept: bool, seed: int) -> Cell:
    """Trains a cell, in this process."""
    import lightning as L

    import ftlight

    class Clock(L.Callback):
        ends: list[tuple[float, float]]  # wall, CPU

        def on_train_start(self, *given: Any) -> None:
            self.ends = [(time.perf_counter(), time.process_time())]

        def on_train_epoch_end(self, *given: Any) -> None:
            self.ends.append((time.perf_counter(), time.process_time()))

    L.seed_everything(seed, verbose=False)
    shared = {"tokenizer": options.backbone, "batch_size": options.batch_size}
    data = ftlight.ImageData(options.folder, **shared, workers=options.workers)
    how = {"unfreeze": schedule, "cache": "auto" if kept else False, "cache_draws": options.draws}
    task = ftlight.ImageClassification(options.backbone, labels=data.labels, **how)
    clock = Clock()
    with tempfile.TemporaryDirectory() as home, contextlib.redirect_stdout(io.StringIO()):
        os.environ["FTLIGHT_CACHE"] = f"{home}/cache"
        trainer = ftlight.Trainer(
            run=f"{home}/run",
            max_epochs=options.epochs,
            patience=0,
            precision=PRECISION[options.precision],
            enable_progress_bar=False,
            callbacks=[clock],
        )
        begun = time.perf_counter()
        trainer.fit(task, datamodule=data)
        seconds = time.perf_counter() - begun
        found = json.loads(Path(home, "run", "test_metrics.json").read_text())
        bytes_ = sum(file.stat().st_size for file in Path(home, "cache").glob("*.bin"))
    wall, cpu = np.diff(clock.ends, axis=0).round(2).T.tolist()
    about = {"epochs": wall, "cpu": cpu, "seconds": round(seconds, 1), "bytes": bytes_}
    return {**about, "accuracy": found["test/accuracy"]}


def report(options: argparse.Namespace, cells: list[Cell]) -> None:
    """Prints a line for each variant, medians over seeds."""
    by: dict[str, list[Cell]] = {}
    for cell in cells:
        by.setdefault(cell["variant"], []).append(cell)
    print(f"{'':16}{'filling':>9}{'repeated':>10}{'CPU: filling':>14}{'repeated':>10}", end="")
    print(f"{'run':>8}{'x all':>8}{'accuracy':>10}{'MB':>7}")
    base = median(c["seconds"] for c in by["all"]) if "all" in by else float("nan")

    def typical(found: list[Cell], clock: str, part: slice) -> float:
        return median([s for c in found for s in c[clock][part]] or [float("nan")])

    parts = slice(options.draws), slice(options.draws, None)
    for variant, found in by.items():
        wall, cpu = ([typical(found, c, part) for part in parts] for c in ("epochs", "cpu"))
        seconds = median(c["seconds"] for c in found)
        print(f"{variant:16}{wall[0]:8.1f}s{wall[1]:9.1f}s{cpu[0]:13.1f}s{cpu[1]:9.1f}s", end="")
        print(
            f"{seconds:7.0f}s{seconds / base:8.2f}{median(c['accuracy'] for c in found):10.4f}"
            f"{found[0]['bytes'] / 1e6:7.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, help="folder of the finished cells")
    parser.add_argument("--train", required=True, help="a zip with train/CLASS/, val/ and test/")
    parser.add_argument("--backbone", required=True, help="hub id or folder")
    parser.add_argument("--schedules", nargs="+", default=["all", "last:4", "head"])
    parser.add_argument("--kept-only", action="store_true", help="leave out what keeps nothing")
    parser.add_argument("--seeds", type=int, default=1, help="(1)")
    parser.add_argument("--images", type=int, default=0, help="training images; 0 for all (0)")
    parser.add_argument("--epochs", type=int, default=12, help="(12)")
    parser.add_argument("--draws", type=int, default=4, help="(4)")
    parser.add_argument("--batch-size", type=int, default=32, help="(32)")
    parser.add_argument("--workers", type=int, default=0, help="(0)")
    parser.add_argument("--precision", choices=PRECISION, default="fp32")
    for hidden in ("--cell", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        schedule, kept, seed = json.loads(options.cell)
        print("\n" + json.dumps(fit(options, schedule, kept, seed)))
        return
    file = Path(options.out) / "cells.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    about = [options.images, options.epochs, options.draws, options.batch_size, options.precision]
    lines = file.read_text().splitlines() if file.exists() else []
    cells = [cell for cell in map(json.loads, lines) if cell["about"] == about]
    done = {(cell["variant"], cell["seed"]) for cell in cells}
    variants = {s: (s, True) for s in options.schedules}
    if not options.kept_only:
        variants |= {f"{s}, not kept": (s, False) for s in options.schedules if s != "all"}
    with tempfile.TemporaryDirectory() as folder:
        if options.images:
            sample(options, Path(folder))
        place = folder if options.images else options.train
        for seed in range(options.seeds):
            names = list(variants)
            for name in [*names[seed % len(names) :], *names[: seed % len(names)]]:
                if (name, seed) in done:
                    continue
                cell = json.dumps([*variants[name], seed])
                given = [*sys.argv[1:], "--cell", cell, "--folder", place]
                ran = subprocess.run(
                    [sys.executable, __file__, *given], capture_output=True, text=True, check=False
                )
                if ran.returncode:
                    raise SystemExit(f"{name} failed:\n{ran.stderr}")
                result = json.loads(ran.stdout.splitlines()[-1])
                cells.append({"variant": name, "seed": seed, "about": about, **result})
                with file.open("a") as out:
                    out.write(json.dumps(cells[-1]) + "\n")
    report(options, cells)


if __name__ == "__main__":
    main()
