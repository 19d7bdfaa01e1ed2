r"""`auto` beside AutoGluon-Multimodal: the same rows, backbone and time, each in its environment.

    python -m venv ag && ag/bin/pip install autogluon.multimodal
    python scripts/bench/automl.py --data DATA --python ag/bin/python --out runs/automl \
        --sets banking77 sst2 --seeds 0 1 2

DATA holds the folders banking77/ and sst2/. A seed draws --rows rows of train; both get them, the
test, the folder of MiniLM and --seconds. AutoGluon runs by its defaults, with the checkpoint and
no processes that load batches; its holdout is its own. Seconds are by the clock, imports and test
included, so run nothing beside. Beside a torch without CUDA the wheels of torchvision do not load,
since they look for operators that they did not bring; these are declared (no text needs them).

A finished cell is a line of OUT/cells.jsonl and is not run again; --table prints what is there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

Cell = dict[str, Any]
SYSTEMS = ("ftlight", "autogluon")


def autogluon(about: dict[str, Any]) -> None:
    """Trains and tests in the environment of AutoGluon; prints the accuracy."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    while True:
        try:
            import torchvision  # noqa: F401

            break
        except RuntimeError as error:
            lacks = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if lacks is None:
                raise
            library.define(f"{lacks[1]}(...) -> ...")
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]
    import pandas
    from autogluon.multimodal import MultiModalPredictor

    train, test = (pandas.read_csv(about[split], dtype=str) for split in ("train", "test"))
    predictor = MultiModalPredictor(label="label", path=about["home"], verbosity=1)
    hyperparameters = {
        "model.names": ["hf_text"],
        "model.hf_text.checkpoint_name": about["backbone"],
        "env.num_gpus": 0,
        "env.num_workers": 0,
        "env.num_workers_inference": 0,
    }
    limits = {"time_limit": about["seconds"], "seed": about["seed"]}
    predictor.fit(train, hyperparameters=hyperparameters, **limits)
    print(json.dumps({"score": float((predictor.predict(test) == test["label"]).mean())}))


def laid_out(given: argparse.Namespace, name: str, seed: int) -> Path:
    """The folder with train.csv, whose rows a seed draws, and test.csv, columns text and label."""
    import csv

    from schedules import SETS, sample

    home, about = given.out / "data" / f"{name}-{seed}", SETS[name]
    home.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", given.rows), ("test", 10**9)):
        target = home / f"{split}.csv"
        source = given.data / getattr(about, split)
        sample(source, rows, seed, target, about.columns[1] if split == "train" else "")
        with target.open(newline="", encoding="utf-8") as file:
            found = [(row[about.columns[0]], row[about.columns[1]]) for row in csv.DictReader(file)]
        random.Random(seed).shuffle(found)
        with target.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *found])
    return home


def measure(given: argparse.Namespace, system: str, name: str, seed: int) -> Cell:
    """Trains and tests one system.

    Raises:
        RuntimeError: it failed.
    """
    from ftlight.models.places import locate

    data = laid_out(given, name, seed)
    home = given.out / "runs" / f"{system}-{name}-{seed}"
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(exist_ok=True)
    env = {**os.environ, "FTLIGHT_CACHE": str(given.out / "cache"), "HF_HUB_OFFLINE": "1"}
    shutil.rmtree(given.out / "cache", ignore_errors=True)
    if system == "ftlight":
        command = [sys.executable, "-m", "ftlight", "auto", str(data / "train.csv")]
        command += ["--budget", f"{given.seconds}s", "--run", str(home), "--seed", str(seed)]
    else:
        about = {"train": str(data / "train.csv"), "test": str(data / "test.csv"), "seed": seed}
        about |= {"home": str(home), "seconds": given.seconds}
        about["backbone"] = str(locate("sentence-transformers/all-MiniLM-L6-v2"))
        command = [str(given.python), __file__, "--autogluon", json.dumps(about)]
        env.pop("PYTHONPATH", None)
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    seconds = time.perf_counter() - began
    home.with_suffix(".log").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise RuntimeError(f"{system}, {name}: {(done.stdout + done.stderr)[-2000:]}")
    if system == "ftlight":
        score = json.loads((home / "best" / "test_metrics.json").read_text())["test/accuracy"]
    else:
        score = json.loads(done.stdout.splitlines()[-1])["score"]
    return {"score": score, "elapsed": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--autogluon", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--python", type=Path, help="of the environment of AutoGluon")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sets", nargs="+", default=["banking77", "sst2"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.autogluon:
        autogluon(given.autogluon)
    else:
        compare(given)


def compare(given: argparse.Namespace) -> None:
    """Runs what is not in the file yet, and prints the table."""
    from schedules import cells_of

    from ftlight.utils.format import table

    file = given.out / "cells.jsonl"
    given.out.mkdir(parents=True, exist_ok=True)
    jobs = itertools.product(given.seeds, given.sets, given.systems)
    for seed, name, system in () if given.table else jobs:
        about = {"system": system, "set": name, "seed": seed, "rows": given.rows}
        about["seconds"] = given.seconds
        if any(about.items() <= cell.items() for cell in cells_of(file)):
            continue
        cell = about | measure(given, system, name, seed)
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(cell) + "\n")
        print(cell, flush=True)
    lines = [["data", "system", "test, mean", "seeds", "seconds"]]
    for name, system in itertools.product(given.sets, given.systems):
        mine = [c for c in cells_of(file) if (c["set"], c["system"]) == (name, system)]
        if mine:
            scores = ", ".join(f"{cell['score']:.4f}" for cell in mine)
            figures = f"{mean(c['score'] for c in mine):.4f}", scores
            lines.append([name, system, *figures, f"{mean(c['elapsed'] for c in mine):.0f}"])
    print(table(lines))


if __name__ == "__main__":
    main()
