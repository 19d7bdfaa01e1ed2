r"""``auto`` with a time limit beside ``fit`` with the defaults and none.

    python scripts/bench/auto.py --data DATA --models MODELS --out runs/auto-bench \
        --sets banking77 sst2 --budget 5m --seeds 0 1 2

DATA holds the folders banking77/, sst2/ and so on, MODELS the folder mobilenet_v2/. Each set is a
training file with its test beside it (of SST-2 and STS-B the validation file, whose labels are
public); of SST-2 and AG News --rows rows of train. `auto` gets the file, and its label if it is not
the one that `init` finds; photographs also the folder of their backbone, since there is no hub.
`fit` gets the config that `init` writes for the same file, no limit, and each seed. Both use all
cores, so run nothing beside them. Seconds are by the clock, from the command to its end.

A finished cell is a line of OUT/cells.jsonl and is not run again; --table prints what is there.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from schedules import SETS, cells_of, sample

from ftlight.run.budget import seconds_of
from ftlight.utils.format import table

Cell = dict[str, Any]


class Data(NamedTuple):
    """A data set: its files by their new names, its label, the score to compare."""

    files: dict[str, str]
    metric: str = "accuracy"
    label: str = ""
    few: bool = False  # whether --rows of train are drawn
    backbone: str = ""


DATA = {
    "banking77": Data({"train.csv": "train.csv", "test.csv": "test.csv"}),
    "sst2": Data({"train.csv": "train.csv.gz", "test.csv": "validation.csv.gz"}, few=True),
    "ag_news": Data({"train.csv": "train.csv", "test.csv": "test.csv"}, few=True),
    "wnut17": Data({f"{s}.conll": f"{s}.conll" for s in ("train", "validation", "test")}, "f1"),
    "trashnet": Data({"trashnet.zip": "trashnet.zip"}, backbone="mobilenet_v2"),
    "stsb": Data({"train.csv": "train.csv", "test.csv": "validation.csv"}, "spearman"),
    "mrpc": Data({f"{s}.csv": f"{s}.csv" for s in ("train", "validation", "test")}),
    "movielens": Data({f: f for f in ("ratings.csv.gz", "movies.csv.gz")}, "ndcg@10"),
    "bitext_support": Data(
        {f"{s}.csv": f"{s}.csv" for s in ("train", "validation", "test")}, label="intent"
    ),
}


def files(given: argparse.Namespace, name: str) -> Path:
    """Lays out the files of a set; returns the one that `auto` gets."""
    about, home = DATA[name], given.out / "data" / name
    home.mkdir(parents=True, exist_ok=True)
    for new, old in about.files.items():
        source, target = given.data / name / old, home / new
        if target.exists():
            continue
        if about.few and new.startswith("train"):
            sample(source, given.rows, 0, target, SETS[name].columns[1])
        elif old.endswith(".gz") and not new.endswith(".gz"):
            with gzip.open(source) as packed, target.open("wb") as file:
                shutil.copyfileobj(packed, file)
        else:
            shutil.copy(source, target)
    return home / next(iter(about.files))


def run(given: argparse.Namespace, log: Path, *words: str) -> float:
    """Runs a command, with an empty store. Returns its seconds.

    Raises:
        SystemExit: it failed.
    """
    cache = given.out / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    began = time.perf_counter()
    with log.open("w") as file:
        status = subprocess.run(
            [sys.executable, "-m", "ftlight", *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "FTLIGHT_CACHE": str(cache)},
        ).returncode
    if status:
        raise SystemExit(f"{' '.join(words)}: status {status}: {log.read_text()[-1500:]}")
    return time.perf_counter() - began


def climb(given: argparse.Namespace, name: str) -> Cell:
    """A cell of `auto`."""
    about, home = DATA[name], given.out / "runs" / f"{name}-{given.budget}"
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(exist_ok=True)
    words = ["--label", about.label] if about.label else []
    words += ["--backbones", str(given.models / about.backbone)] if about.backbone else []
    limits = ["--budget", given.budget, "--run", str(home)]
    log = home.with_suffix(".log")
    seconds = run(given, log, "auto", str(files(given, name)), *words, *limits)
    ladder = json.loads((home / "auto.json").read_text())
    rungs = [
        [rung["name"], rung["score"], rung["seconds"], rung["best"]] for rung in ladder["rungs"]
    ]
    return {"score": score(home / "best", name), "seconds": seconds, "rungs": rungs}


def fit(given: argparse.Namespace, name: str, seed: int) -> Cell:
    """A cell of `fit`."""
    home, about = given.out / "runs" / f"{name}-fit-{seed}", DATA[name]
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(exist_ok=True)
    config = home.with_suffix(".yaml")
    label = ["--label", about.label] if about.label else []
    run(given, config, "init", str(files(given, name).absolute()), *label)
    words = ["--model.backbone", str(given.models / about.backbone)] if about.backbone else []
    words += ["--seed", str(seed), "--run", str(home), "--trainer.report", "false"]
    seconds = run(given, home.with_suffix(".log"), "fit", "-c", str(config), *words)
    return {"score": score(home, name), "seconds": seconds}


def score(folder: Path, name: str) -> float:
    """The test score of a run."""
    found: dict[str, float] = json.loads((folder / "test_metrics.json").read_text())
    return found[f"test/{DATA[name].metric}"]


def lines(cells: list[Cell]) -> list[list[str]]:
    """The table."""
    head = ["data", "budget", "auto", "seconds", "of the budget", "fit, mean", "seeds", "seconds"]
    rows = [[*head, "auto less fit"]]
    for cell in cells:
        if cell["part"] != "auto":
            continue
        others = [c for c in cells if c["part"] == "fit" and c["set"] == cell["set"]]
        row = [cell["set"], cell["budget"], f"{cell['score']:.4f}", f"{cell['seconds']:.0f}"]
        row.append(f"{cell['seconds'] / (seconds_of(cell['budget']) or 1):.0%}")
        if others:
            scores = [c["score"] for c in others]
            spread = f"{min(scores):.4f} to {max(scores):.4f}"
            row += [f"{mean(scores):.4f}", spread, f"{mean(c['seconds'] for c in others):.0f}"]
            row.append(f"{100 * (cell['score'] - mean(scores)):+.1f}")
        rows.append(row)
    return rows


def rungs(cells: list[Cell]) -> list[list[str]]:
    """The rungs of each ladder."""
    rows = [["data", "budget", "rung", "validation", "seconds", "kept"]]
    for cell in cells:
        for name, value, seconds, best in cell.get("rungs", []):
            kept = "kept" if best else ""
            rows.append([cell["set"], cell["budget"], name, f"{value:.4f}", f"{seconds:.0f}", kept])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=Path())
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of fit")
    parser.add_argument("--rows", type=int, default=8000, help="of train, of SST-2 and AG News")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "cells.jsonl"
    for name in [] if given.table else given.sets:
        wanted: list[Cell] = [{"part": "auto", "set": name, "budget": given.budget}]
        wanted += [{"part": "fit", "set": name, "seed": seed} for seed in given.seeds]
        for about in wanted:
            if any(about.items() <= cell.items() for cell in cells_of(file)):
                continue
            is_auto = about["part"] == "auto"
            found = climb(given, name) if is_auto else fit(given, name, about["seed"])
            with file.open("a", encoding="utf-8") as target:
                target.write(json.dumps(about | found) + "\n")
            print(about, round(found["score"], 4), round(found["seconds"]), flush=True)
    print(table(lines(cells_of(file))))
    print(table(rungs(cells_of(file))))


if __name__ == "__main__":
    main()
