"""Texts per second of prediction: ftlight beside transformers' pipeline, all else equal.

- pipeline: pipeline("text-classification", device="cpu", batch_size=32) in fp32, truncating, on
  what ``ftlight export`` wrote.
- ftlight fp32: ftlight.load(RUN).predict(texts).
- ftlight bf16: ftlight.load(RUN, precision="bf16-true").predict(texts), weights and activations in
  bfloat16.
- predict: the command ``python -m ftlight predict RUN FILE`` (bf16 with --trainer.precision
  bf16-true), from its start to its end.

First the model is fine-tuned for STEPS steps, with its architecture's own head, so that labels mean
something. The texts are made of the rows of the training file: each joins rows of one label until
it has N words, and is cut there; N is lognormal with median 24 and sigma 0.92, at least 3 and at
most 210 (in MiniLM's tokens: mean 43, 95 % below 125). They come in random order.

Each round measures every side once, in a process of its own, one after the other. A rate is all
texts over the time from texts to labels and scores, with tokenization, after a warm-up of 64 texts
and without imports and loading. The seconds of a process count all: imports, loading and warm-up
too.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

SIDES = ("pipeline", "ftlight fp32", "ftlight bf16", "predict fp32", "predict bf16")
Found = list[tuple[str, float]]


def make_texts(options: argparse.Namespace) -> list[str]:
    """Texts of mixed lengths, by the law above."""
    rng = np.random.default_rng(0)
    by_label: dict[str, list[str]] = {}
    with open(options.train, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_label.setdefault(row[options.label], []).append(row[options.text])
    names, made = sorted(by_label), []
    for size in rng.lognormal(np.log(24), 0.92, options.rows).clip(3, 210).round().astype(int):
        texts, words = by_label[names[rng.integers(len(names))]], list[str]()
        while len(words) < size:
            words += texts[rng.integers(len(texts))].split()
        made.append(" ".join(words[:size]))
    return made


def write(texts: list[str], path: Path) -> None:
    """Writes texts as a CSV of one column."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text"], *([t] for t in texts)])


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def predictor(side: str, folder: Path) -> Callable[[list[str]], Found]:
    """What a side calls: texts to labels and scores."""
    if side == "pipeline":
        from transformers import pipeline

        pipe = pipeline("text-classification", str(folder / "run" / "export"), device="cpu")
        return lambda texts: [
            (r["label"], r["score"]) for r in pipe(texts, batch_size=32, truncation=True)
        ]
    import ftlight

    made = ftlight.load(
        str(folder / "run"), precision="bf16-true" if side.endswith("bf16") else "32-true"
    )
    return lambda texts: [(r["prediction"], r["score"]) for r in made.predict(texts)]


def measure(side: str, folder: Path) -> None:
    """Predicts in this process; prints the seconds, writes labels and scores."""
    texts, predict = [row["text"] for row in read(folder / "texts.csv")], predictor(side, folder)
    predict(texts[:64])
    begun = time.perf_counter()
    found = predict(texts)
    print("\n" + json.dumps(time.perf_counter() - begun))
    (folder / f"{side}.json").write_text(json.dumps(found))


def call(*words: str) -> str:
    """Runs a process to its end; returns what it printed."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")
    return done.stdout


def run(side: str, folder: Path, rows: int) -> tuple[float, float]:
    """Texts per second of a side, and the seconds of its process."""
    begun = time.perf_counter()
    if side.startswith("predict"):
        out = folder / f"{side}.csv"
        precision = ["--trainer.precision", "bf16-true"] if side.endswith("bf16") else []
        call(
            "-m",
            "ftlight",
            "predict",
            str(folder / "run"),
            str(folder / "texts.csv"),
            "--out",
            str(out),
            *precision,
        )
        whole = time.perf_counter() - begun
        (folder / f"{side}.json").write_text(
            json.dumps([(r["prediction"], float(r["score"])) for r in read(out)])
        )
        return rows / whole, whole
    seconds = json.loads(call(__file__, "--side", side, "--folder", str(folder)).splitlines()[-1])
    return rows / seconds, time.perf_counter() - begun


def fit(options: argparse.Namespace, folder: Path) -> None:
    """Fine-tunes and exports."""
    made = {
        "model.backbone": options.backbone,
        "model.pooling": "native",
        "model.lr": "3e-4",  # the pooler is new, and steps are few
        "data.train": options.train,
        "data.text": options.text,
        "data.label": options.label,
        "data.validation_split": "0",
        "trainer.max_steps": str(options.steps),
    }
    words = [w for k, v in made.items() for w in (f"--{k}", v)]
    call(
        "-m",
        "ftlight",
        "fit",
        "--model",
        "TextClassification",
        *words,
        "--run",
        str(folder / "run"),
    )
    call("-m", "ftlight", "export", str(folder / "run"))


def report(
    options: argparse.Namespace, folder: Path, made: dict[str, list[tuple[float, float]]]
) -> None:
    """Prints rates, ratios to the pipeline and what differs from it."""
    import torch

    versions = ", ".join(f"{p} {version(p)}" for p in ("torch", "lightning", "transformers"))
    print(f"cpu, {os.cpu_count()} cores, {torch.get_num_threads()} threads; {versions}")
    print(
        f"{options.backbone}, {options.rows:,} texts, {options.rounds} rounds; medians, "
        "ratios of one round\n"
    )
    print(
        f"{'':14}{'texts/s':>9}{'ratio':>7}{'process, s':>12}{'ratio':>7}{'same labels':>13}"
        f"{'scores apart':>14}"
    )
    base: Found = json.loads((folder / "pipeline.json").read_text())
    for side, rounds in made.items():
        (rate, seconds) = map(statistics.median, zip(*rounds, strict=True))
        pairs = list(zip(rounds, made["pipeline"], strict=True))
        faster, whole = (
            statistics.median(f(a, b) for a, b in pairs)
            for f in (lambda a, b: a[0] / b[0], lambda a, b: b[1] / a[1])
        )
        found = json.loads((folder / f"{side}.json").read_text())
        same = sum(a[0] == b[0] for a, b in zip(found, base, strict=True)) / len(base)
        apart = max(
            (abs(a[1] - b[1]) for a, b in zip(found, base, strict=True) if a[0] == b[0]), default=0
        )
        shown = (
            f"{rate:9.1f}{faster:7.2f}" if not side.startswith("predict") else " " * 16
        ) + f"{seconds:12.1f}{whole:7.2f}"
        print(f"{side:14}{shown}{same:13.2%}{apart:14.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, what in {
        "train": "training data, a CSV",
        "text": "column of the text",
        "label": "column of the label",
    }.items():
        parser.add_argument(f"--{name}", help=what)
    parser.add_argument(
        "--backbone", default="sentence-transformers/all-MiniLM-L6-v2", help="hub id or folder"
    )
    parser.add_argument("--rows", type=int, default=20_000, help="texts to predict (20,000)")
    parser.add_argument("--steps", type=int, default=600, help="steps of the fine-tuning (600)")
    parser.add_argument("--rounds", type=int, default=3, help="times each side is measured (3)")
    for hidden in ("--side", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        measure(options.side, Path(options.folder))
        return
    made: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(make_texts(options), folder / "texts.csv")
        fit(options, folder)
        for _ in range(options.rounds):
            for side in SIDES:
                made[side].append(run(side, folder, options.rows))
        report(options, folder, made)


if __name__ == "__main__":
    main()
