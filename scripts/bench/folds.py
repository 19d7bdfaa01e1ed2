r"""Is the score of `fit --folds` nearer the truth than that of one split?

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/folds.py --data DATA --out runs/folds

DATA holds the folders sst2/ and banking77/ (of this the first labels, in the order of names). A
cell is a draw of --rows rows of the training file: `fit --folds 5` with a solved head, and a test
of its models on 1,000 other rows of that file, whose test file may differ from it (sentences
beside the phrases of SST-2). All runs of a start share one process.

The one split is fold 0: a run on four fifths of the rows, validated on one fifth. The truth of an
estimate is the accuracy of the model that a person would keep, on all test rows: of folds the one
on all rows, of the split its own. An error is the estimate minus this truth, its standard deviation
is over draws, and the interval is the 95 % interval that the screen shows for the estimate.

A finished cell is a line of OUT/cells.jsonl and is not run again; --table prints what is there.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from schedules import SETS, TEXT, call, sample

from ftlight.cli import child
from ftlight.metrics.statistics import wilson

FOLDS, TESTED = 5, 1000
LABELS = {"banking77": 20}  # of a set that has more
Cell = dict[str, Any]


def divide(given: argparse.Namespace, name: str, draw: int, folder: Path) -> list[str]:
    """Writes rows to train on and others to test on. Returns the options that name them."""
    about, files = SETS[name], {"train": given.rows, "test": TESTED}
    text, label = about.columns
    source = given.data / about.train
    opening = gzip.open if source.suffix == ".gz" else open
    with opening(source, "rt", newline="", encoding="utf-8") as file:
        head, *lines = csv.reader(file)
    at = head.index(label)
    known = set(sorted({line[at] for line in lines})[: LABELS.get(name)])
    whole = folder / "whole.csv"
    with whole.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *(line for line in lines if line[at] in known)])
    # in one seeded order, the first rows with each label before all others
    drawn = sample(whole, sum(files.values()), draw, folder / "drawn.csv", label)
    with drawn.open(newline="", encoding="utf-8") as file:
        head, *lines = csv.reader(file)
    for split, part in {"train": lines[: given.rows], "test": lines[given.rows :]}.items():
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *part])
    named = [word for split in files for word in (f"--data.{split}", f"{folder}/{split}.csv")]
    return [*named, "--data.text", text, "--data.label", label]


def here(verb: str, argv: Sequence[str]) -> int:
    """Runs a verb in this process, which has its imports."""
    print(call(verb, *argv))
    return 0


def measure(given: argparse.Namespace, name: str, draw: int) -> Cell:
    """Trains and scores a draw of rows."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        words = ["--model", SETS[name].task, "--model.backbone", TEXT, "--model.unfreeze", "head"]
        words += [*divide(given, name, draw, Path(folder)), "--data.check", "off"]
        begun = time.process_time()
        call("fit", *words, "--trainer.report", "false", "--folds", str(FOLDS), "--run", str(run))
        seconds = time.process_time() - begun
        found = json.loads((run / "folds.json").read_text())["metrics"]["accuracy"]
        scores = np.load(run / "fold-0" / "outcomes-validation.npz")["scores"]
        call("test", str(run / "fold-0"))
        tests = {
            part: json.loads((run / part / "test_metrics.json").read_text())["test/accuracy"]
            for part in ("fold-0", "all")
        }
    one = float(scores.mean())
    split = {"value": one, "ends": wilson(one, len(scores)), "truth": tests["fold-0"]}
    folds = {"value": found["value"], "ends": [found["low"], found["high"]], "truth": tests["all"]}
    return {"split": split, "folds": folds, "cpu": round(seconds, 1)}


def line(name: str, way: str, cells: list[Cell]) -> str:
    """A row of the table: errors of an estimate, and how often its interval holds the truth."""
    own = [cell[way] for cell in cells]
    errors = 100 * np.array([cell["value"] - cell["truth"] for cell in own])
    halves = 100 * np.array([(cell["ends"][1] - cell["ends"][0]) / 2 for cell in own])
    held = sum(cell["ends"][0] <= cell["truth"] <= cell["ends"][1] for cell in own)
    truth = np.mean([cell["truth"] for cell in own])
    estimate = np.mean([cell["value"] for cell in own])
    parts = [
        f"{truth:.4f}",
        f"{estimate:.4f}",
        f"{errors.mean():+.1f}",
        f"{errors.std(ddof=1):.1f}",
    ]
    parts += [f"± {halves.mean():.1f}", f"{held} of {len(own)}"]
    return f"| {name} | {way} | " + " | ".join(parts) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished cells")
    parser.add_argument("--sets", nargs="+", default=["sst2", "banking77"])
    parser.add_argument("--rows", type=int, default=300, help="training rows (300)")
    parser.add_argument("--draws", type=int, default=10, help="(10)")
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    given = parser.parse_args()
    child.run = here  # type: ignore[assignment]
    file = given.out / "cells.jsonl"
    given.out.mkdir(parents=True, exist_ok=True)
    cells = [json.loads(text) for text in file.read_text().splitlines()] if file.exists() else []
    done = {(cell["set"], cell["rows"], cell["draw"]) for cell in cells}
    for draw in range(0 if given.table else given.draws):
        for name in given.sets:
            if (name, given.rows, draw) not in done:
                about = {"set": name, "rows": given.rows, "draw": draw}
                cells.append({**about, **measure(given, name, draw)})
                with file.open("a") as out:
                    out.write(json.dumps(cells[-1]) + "\n")
    print("| set | by | truth | estimate | error: mean | SD | interval | holds the truth |")
    print("|---|---|---|---|---|---|---|---|")
    for name in given.sets:
        own = [c for c in cells if c["set"] == name and c["rows"] == given.rows]
        if len(own) > 1:
            print(line(name, "split", own))
            print(line(name, "folds", own))


if __name__ == "__main__":
    main()
