"""Start-up: seconds of whole processes for help, for errors, and to the first training step.

Every round runs each command once, in a process of its own, one after the other, in turns forwards
and backwards; a round before them fills the caches of the system. The bare script imports torch,
lightning and transformers, loads the tokenizer and the model with a head for the labels, reads the
same CSV file with the csv module, tokenizes all of its rows, and takes one step (the same autocast,
clipping, fused AdamW) on a batch of the same number of rows, those of middle length. ftlight reads,
checks, splits and tokenizes the same file, writes a run folder, and is ended by a callback after
its first step; once with an empty cache of data (cold) and once with the cache of the round before
(warm). Seconds of the clock, and of the processor (user and system, all threads), which depend less
on what else the machine does.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L

Times = dict[
    str, list[tuple[float, float]]
]  # of each command, by round: seconds of the clock and of the processor
BACKBONE = "sentence-transformers/all-MiniLM-L6-v2"
WORDS = (
    "where is my parcel i want to cancel the order please my card was charged twice thanks a lot "
    "how do i return this"
).split()


class FirstStep(L.Callback):
    """Ends the process after its first step."""

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Says what the batch was, and ends."""
        print("batch", *batch["inputs"]["input_ids"].shape, flush=True)
        os._exit(0)


def bare(train: str, text: str, label: str, folder: str) -> None:
    """The bare script: ends the process after its first step."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    with open(train, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = sorted({row[label] for row in rows})
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=len(labels)
    ).train()
    encoded = tokenizer([row[text] for row in rows], truncation=True, max_length=256)["input_ids"]
    middle = sorted(range(len(rows)), key=lambda i: len(encoded[i]))[len(rows) // 2 - 16 :][:32]
    batch = tokenizer.pad({"input_ids": [encoded[i] for i in middle]}, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    with torch.autocast("cpu", torch.bfloat16, enabled=native):
        loss = model(
            **batch, labels=torch.tensor([labels.index(rows[i][label]) for i in middle])
        ).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    print("batch", *batch["input_ids"].shape, flush=True)
    os._exit(0)


def made(path: Path, rows: int = 1000) -> str:
    """Writes a CSV of texts in ten classes."""
    draw = random.Random(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(
            [" ".join(draw.choices(WORDS, k=draw.randint(4, 30))), f"class {i % 10}"]
            for i in range(rows)
        )
    return str(path)


def commands(options: argparse.Namespace, home: Path) -> dict[str, tuple[list[str], int]]:
    """What is timed: the words after ``python``, and the exit status."""
    model = f"model: {{task: TextClassification, backbone: {options.backbone}}}\n"
    data = f"data: {{train: '{options.train}', text: {options.text}, label: {options.label}}}\n"
    for name, text in {
        "good": model + data,
        "key": model + data.replace("train:", "trian:"),
    }.items():
        (home / f"{name}.yaml").write_text(text)
    fit = ["-m", "ftlight", "fit"]
    step = [
        *fit,
        "-c",
        "good.yaml",
        "--trainer.accelerator",
        "cpu",
        "--trainer.callbacks",
        "[{class_path: startup.FirstStep}]",
    ]
    lost = [*fit, "-c", "good.yaml", "--data.train", "none.csv"]
    from ftlight.models.loading import locate

    own = [str(Path(__file__).absolute()), "--bare", locate(options.backbone)]
    return {
        "python -c pass": (["-c", "pass"], 0),
        "import lightning.pytorch.cli": (["-c", "import lightning.pytorch.cli"], 0),
        "fit --help": ([*fit, "--help"], 0),
        "a misspelt key": ([*fit, "-c", "key.yaml"], 2),
        "a missing config": ([*fit, "-c", "none.yaml"], 2),
        "a missing data file": (lost, 2),
        "bare script, first step": (
            [*own, "--train", options.train, "--text", options.text, "--label", options.label],
            0,
        ),
        "ftlight, first step, cold": (step, 0),
        "ftlight, first step, warm": (step, 0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--train", default="", help="CSV file; one of 1,000 rows is made if not given"
    )
    parser.add_argument("--text", default="text", help="its column of texts")
    parser.add_argument("--label", default="label", help="its column of labels")
    parser.add_argument("--backbone", default=BACKBONE, help="hub id or folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bare", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        bare(options.train, options.text, options.label, options.bare)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        options.train = (
            str(Path(options.train).absolute()) if options.train else made(home / "made.csv")
        )
        report(options, *rounds(commands(options, home), home, options.rounds))


def environment() -> dict[str, str]:
    """The environment of a process that imports from this folder, and asks no hub."""
    paths = [str(Path(__file__).parent.absolute()), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(p for p in paths if p)
    return {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": path}


def work() -> float:
    """Seconds of the processor that ended child processes took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rounds(
    cases: dict[str, tuple[list[str], int]], home: Path, count: int
) -> tuple[Times, dict[str, str]]:
    """Seconds of each command in each round, and the last line that it printed."""
    times: Times = {name: [] for name in cases}
    said: dict[str, str] = {}
    clean = environment()
    for turn in range(count + 1):
        for name in list(cases)[:: 1 if turn % 2 else -1]:
            words, status = cases[name]
            cache = home / (f"cold-{turn}" if name.endswith("cold") else "warm")
            began, worked = time.perf_counter(), work()
            place: dict[str, Any] = {"cwd": home, "env": {**clean, "HF_DATASETS_CACHE": str(cache)}}
            done = subprocess.run(
                [sys.executable, *words], **place, capture_output=True, text=True, check=False
            )
            seconds = time.perf_counter() - began, work() - worked
            assert done.returncode == status, f"{name}: {done.stderr[-2000:]}"
            times[name] += [seconds] if turn else []
            said[name] = "".join((done.stderr if status else done.stdout).strip().splitlines()[-1:])
    return times, said


def report(options: argparse.Namespace, times: Times, said: dict[str, str]) -> None:
    """Prints seconds, and what the first steps and ``--help`` cost over their bare side."""
    versions = ", ".join(
        f"{p} {version(p)}" for p in ("torch", "lightning", "transformers", "datasets")
    )
    print(f"cpu, {os.cpu_count()} cores; {versions}; {options.backbone}, {options.rounds} rounds\n")
    print(
        f"{'seconds, clock and processor':30}{'median':>8}{'min':>8}{'max':>8}{'median':>10}"
        f"{'min':>8}{'max':>8}"
    )
    for name, found in times.items():
        columns = [
            f"{statistics.median(side):8.2f}{min(side):8.2f}{max(side):8.2f}"
            for side in zip(*found, strict=True)
        ]
        print(f"{name:30}{'  '.join(columns)}  {said[name][:40]}")
    print()
    for name, base in (
        ("fit --help", "import lightning.pytorch.cli"),
        ("ftlight, first step, cold", "bare script, first step"),
        ("ftlight, first step, warm", "bare script, first step"),
    ):
        over = [
            [a - b for a, b in zip(one, other, strict=True)]
            for one, other in zip(times[name], times[base], strict=True)
        ]
        clock, processor = (
            [statistics.median(side), min(side), max(side)] for side in zip(*over, strict=True)
        )
        words = [
            f"{what} {m:+.2f} s ({low:+.2f} to {high:+.2f})"
            for what, (m, low, high) in (("clock", clock), ("processor", processor))
        ]
        print(f"{name} - {base}: {', '.join(words)}, medians of rounds")


if __name__ == "__main__":
    main()
