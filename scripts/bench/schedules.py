r"""Freezing schedules side by side: a grid of schedules, data sets and seeds, a whole run each.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/schedules.py --out runs/schedules \
        --data banking77=banking77/train.csv,banking77/test.csv,text,category,5 \
        --data sst2=sst2/train.csv.gz,sst2/validation.csv.gz,text,label,3 --rows sst2=8000

A cell is `python -m ftlight fit` for a fixed number of epochs with the defaults, and with an empty
cache of activations. Nothing is held out and nothing stops early, so the weights at the end are
tested, and no rows choose anything: the validation file of a benchmark can stand for a test whose
labels are not public. Cells go seed by seed, through all data sets and schedules, so that an
interrupted grid covers everything once. A finished cell is a line of OUT/cells.csv and is not run
again; one that fails is said, skipped for its other seeds, and tried anew by the next start.
OUT/runs keeps the runs without their checkpoints.

Seconds are those of the whole process (the first one on a data set also tokenizes it: hence
medians), peak memory is the largest resident size, with what is mapped of kept activations; the
trainable share is that of the stage in which most trains.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import lightning as L

from ftlight.freezing import callback

SCHEDULES = {
    word: ["--model.unfreeze", word] for word in ("all", "head", "last:2", "lp_ft", "gradual")
}
SCHEDULES |= {"layer_decay 0.9": ["--model.layer_decay", "0.9"], "lora": ["--model.peft", "lora"]}
KEY = ("schedule", "data", "seed", "backbone", "epochs", "rows")
FOUND = ("accuracy", "low", "high", "seconds", "share", "peak_mib")
Cell = dict[str, Any]


class Data(NamedTuple):
    """A data set: files, columns, epochs, and how many training rows to use (0: all)."""

    name: str
    train: str
    test: str
    text: str
    label: str
    epochs: str
    rows: int


class Share(L.Callback):
    """Notes the largest share of parameters that train together, in share.json of the run."""

    def __init__(self) -> None:
        self.stage, self.largest = -1, 0.0

    def on_train_batch_end(self, trainer: Any, task: Any, *rest: Any) -> None:
        """Counts at the first step of a stage."""
        stage = callback.of(trainer).stage
        if stage != self.stage:
            sizes = [(p.numel(), p.requires_grad) for p in task.model.parameters()]
            self.largest = max(
                self.largest, sum(n for n, trains in sizes if trains) / sum(n for n, _ in sizes)
            )
            self.stage = stage

    def on_train_end(self, trainer: Any, task: Any) -> None:
        """Writes the share."""
        (trainer.folder / "share.json").write_text(json.dumps(self.largest))


def fit(options: Sequence[str], run: Path) -> Cell:
    """Trains and tests in its own process with an empty cache; deletes the checkpoints.

    Raises:
        RuntimeError: the process failed; with the last line that it printed.
    """
    shutil.rmtree(run, ignore_errors=True)  # of a cell that was interrupted
    command = [sys.executable, "-m", "ftlight", "fit", "--run", str(run), *options]
    command += ["--trainer.callbacks", '[{"class_path": "schedules.Share"}]']
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryFile() as printed:
        begun = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": path, "FTLIGHT_CACHE": cache}
        process = subprocess.Popen(
            command, env=environment, stdout=printed, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            printed.seek(0)
            raise RuntimeError(
                [
                    f"exit status {process.returncode}",
                    *printed.read().decode().strip().splitlines(),
                ][-1]
            )
    scores, share = (
        json.loads((run / f"{name}.json").read_text()) for name in ("test_metrics", "share")
    )
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    measured = (scores[f"test/accuracy{end}"] for end in ("", "_low", "_high"))
    peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return dict(zip(FOUND, (*measured, round(seconds, 1), share, round(peak)), strict=True))


def subset(data: Data, out: Path) -> str:
    """The training file, or one of the first rows of a seeded shuffle of it."""
    if not data.rows:
        return data.train
    opening = gzip.open if data.train.endswith(".gz") else open
    with opening(data.train, "rt", newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    random.Random(0).shuffle(rows)
    made = out / f"{data.name}-{data.rows}.csv"
    with made.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows[: data.rows]])
    return str(made)


def parse() -> argparse.Namespace:
    """The command line, with ``data`` as a list of :class:`Data`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        required=True,
        action="append",
        help="NAME=train.csv,test.csv,text column,label column,epochs",
    )
    parser.add_argument(
        "--rows", default=[], action="append", help="NAME=N: train on N random rows of a data set"
    )
    parser.add_argument(
        "--backbone", default="sentence-transformers/all-MiniLM-L6-v2", help="hub id or folder"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SCHEDULES,
        default=list(SCHEDULES),
        help="schedules (all of them)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/schedules"), help="folder of cells.csv and runs"
    )
    options = parser.parse_args()
    rows, given = (
        dict(g.partition("=")[::2] for g in each) for each in (options.rows, options.data)
    )
    if wrong := [name for name, rest in given.items() if rest.count(",") != 4] + [
        name for name in rows if name not in given
    ]:
        parser.error(
            f"{wrong[0]}: expected --data {wrong[0]}=train.csv,test.csv,text column,label "
            "column,epochs"
        )
    options.data = [
        Data(name, *rest.split(","), int(rows.get(name, 0))) for name, rest in given.items()
    ]
    return options


def words(options: argparse.Namespace, data: Data, seed: int) -> list[str]:
    """The options of a cell, all but the schedule's."""
    given = {"model": "TextClassification", "model.backbone": options.backbone, "seed": seed}
    given |= {f"data.{k}": getattr(data, k) for k in ("train", "test", "text", "label")} | {
        "data.validation_split": 0
    }
    given |= {"trainer.max_epochs": data.epochs, "trainer.patience": 0}
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def run_grid(options: argparse.Namespace) -> list[Cell]:
    """Runs the cells that are not in the file yet; returns all that are asked for."""
    file, failed, cells = options.out / "cells.csv", set[tuple[str, str]](), list[Cell]()
    if not file.exists():
        file.write_text(",".join((*KEY, *FOUND)) + "\n")
    with file.open(newline="") as lines:
        known = {
            tuple(row[k] for k in KEY): {**row, **{k: float(row[k]) for k in FOUND}}
            for row in csv.DictReader(lines)
        }
    taken = [data._replace(train=subset(data, options.out)) for data in options.data]
    for seed, data, schedule in itertools.product(options.seeds, taken, options.only):
        about = (schedule, data.name, str(seed), options.backbone, data.epochs, str(data.rows))
        if about not in known and (schedule, data.name) not in failed:
            run = (
                options.out
                / "runs"
                / f"{data.name}-{schedule}-{seed}".replace(" ", "-").replace(":", "-")
            )
            try:
                known[about] = dict(zip(KEY, about, strict=True)) | fit(
                    [*words(options, data, seed), *SCHEDULES[schedule]], run
                )
            except RuntimeError as error:
                failed.add((schedule, data.name))
                print(f"{data.name}, {schedule}: skipped, it failed: {error}", flush=True)
                continue
            with file.open("a", newline="") as lines:
                csv.writer(lines).writerow(known[about].values())
            print(
                "{data}, {schedule}, seed {seed}: {accuracy:.4f} in {seconds:.0f} s".format(
                    **known[about]
                ),
                flush=True,
            )
        cells += [known[about]] if about in known else []
    return cells


def markdown(cells: Sequence[Cell]) -> str:
    """The table of mean accuracy and median seconds, and the schedules that are below `all`."""
    scores: dict[tuple[str, str], list[float]] = {}
    for cell in cells:
        scores.setdefault((cell["schedule"], cell["data"]), []).append(cell["accuracy"])
    best = {name: max(mean(v) for (_, n), v in scores.items() if n == name) for _, name in scores}
    lines = [
        "| schedule |" + "".join(f" {n} | seconds |" for n in best) + " trainable | peak MiB |",
        "|---" * (2 * len(best) + 3) + "|",
    ]
    for schedule in dict.fromkeys(c["schedule"] for c in cells):
        mine, row = [c for c in cells if c["schedule"] == schedule], f"| {schedule} |"
        for name in best:
            found = scores.get((schedule, name))
            mark = "**" if found and mean(found) == best[name] else ""
            row += (
                f" {mark}{mean(found):.4f}{mark} ({min(found):.4f} to {max(found):.4f}) |"
                if found
                else " |"
            )
            row += (
                f" {median(c['seconds'] for c in mine if c['data'] == name):.0f} |"
                if found
                else " |"
            )
        lines.append(
            row + f" {max(c['share'] for c in mine):.2%} | {max(c['peak_mib'] for c in mine):.0f} |"
        )
    full = {name: scores[schedule, name] for schedule, name in scores if schedule == "all"}
    low = [
        f"{s} on {n}"
        for (s, n), v in scores.items()
        if n in full and mean(v) < mean(full[n]) - (max(full[n]) - min(full[n]))
    ]
    return "\n".join(
        [
            *lines,
            "",
            "below `all` by more than its spread (largest less smallest): "
            f"{', '.join(low) or 'none'}",
        ]
    )


def main() -> None:
    options = parse()
    (options.out / "runs").mkdir(parents=True, exist_ok=True)
    print("\n" + markdown(run_grid(options)))


if __name__ == "__main__":
    main()
