"""Checks that a change of code changed no number: hashes of short seeded runs of every task.

    python scripts/bench/bit_equal.py --checkout OLD --checkout NEW
    python scripts/bench/bit_equal.py --checkout OLD --save old.json
    python scripts/bench/bit_equal.py --checkout NEW --against old.json

Trains tiny models, made on the spot, through the command line of each checkout: all tasks, the
schedules with stored activations, adapters, averages of weights, precisions. Each command runs in
a process of its own, on one thread, forked from one that has imported the libraries but nothing of
ftlight. Prints SHA-256 (its first 12 digits) of

- last, best: the weights of last.ckpt and best.ckpt, an average included, by name, type and shape;
- optimizer: its states in last.ckpt;
- metrics: metrics.csv and test_metrics.json;
- predictions: what ``predict`` writes for the test file, with probabilities.

Exits with 1 if anything differs. Hashes compare on one machine with one set of libraries only:
processors differ in how they round.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any

import toys

PARTS = ("last", "best", "optimizer", "metrics", "predictions")
Hashes = dict[str, dict[str, str]]


def work(jobs: list[tuple[str, list[str]]]) -> None:
    """Runs command lines one after the other, each in a process of its own.

    Args:
        jobs: file for what a command prints, and its words after ``python -m ftlight``.
    """
    for name in ("torch", "lightning", "transformers", "datasets", "torchmetrics", "jsonargparse"):
        importlib.import_module(name)
    sys.path.pop(0)  # the folder of this script
    for log, words in jobs:
        number = os.fork()
        if not number:
            run_here(log, words)
        if os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]):
            raise SystemExit(f"{' '.join(words)}:\n{Path(log).read_text()[-3000:]}")


def run_here(log: str, words: list[str]) -> None:
    """Runs one command line, and ends the process."""
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv, code = ["ftlight", *words], 1
    try:
        import ftlight
        from ftlight.__main__ import main

        # without it an installed ftlight would be compared with itself
        assert Path(ftlight.__file__).is_relative_to(os.environ["PYTHONPATH"]), ftlight.__file__
        code = main(words)
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def measure(checkout: Path, home: Path, only: list[str]) -> Hashes:
    """Runs the cases with the code of a checkout in a folder of models and data. Returns hashes."""
    jobs, folders = [], {}
    for name, config in toys.cases().items():
        if only and name not in only:
            continue
        case = f"case-{len(jobs)}"
        folders[name] = home / case
        (home / case).mkdir()
        (home / case / "config.yaml").write_text(json.dumps(config))
        data = config["data"]
        file = {"images": "images/test", "events-train.csv": "pairs-test.csv"}.get(data["train"])
        out = ["--out", f"{case}/predictions.jsonl", "--probabilities"]
        fit = ["fit", "-c", f"{case}/config.yaml", "--run", f"{case}/run", "--seed", "3"]
        jobs.append((f"{case}.log", fit))
        jobs.append((f"{case}.log", ["predict", f"{case}/run", file or data["test"], *out]))
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "FTLIGHT_CACHE": str(home / "kept"),
        "HF_DATASETS_CACHE": str(home / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(Path(__file__).absolute()), "--work", json.dumps(jobs)]
    if subprocess.run(command, cwd=home, env=environment, check=False).returncode:
        raise SystemExit(f"{checkout}: a run failed")
    return {name: hashes(folder) for name, folder in folders.items()}


def sha(data: Any) -> str:
    """SHA-256 of nested mappings (in the order of their names), lists, tensors and other values."""
    import torch

    found = hashlib.sha256()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for key in sorted(value, key=str):
                found.update(f"{key!r}:".encode())
                walk(value[key])
        elif isinstance(value, list | tuple):
            found.update(f"{len(value)} items:".encode())
            for item in value:
                walk(item)
        elif isinstance(value, torch.Tensor):
            found.update(f"{value.dtype} {tuple(value.shape)}:".encode())
            found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            found.update(repr(value).encode())

    walk(data)
    return found.hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """Hashes of what a case has left in its folder."""
    import torch

    run = folder / "run"
    last, best = (
        torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        for name in ("last", "best")
    )
    predictions = (folder / "predictions.jsonl").read_text(encoding="utf-8")
    return {
        "last": sha([last["state_dict"], last.get("current_model_state")]),
        "best": sha(best["state_dict"]),
        "optimizer": sha(last["optimizer_states"]),
        "metrics": sha([(run / name).read_text() for name in ("metrics.csv", "test_metrics.json")]),
        "predictions": sha(predictions.replace(str(folder.parent), "")),
    }


def facts() -> dict[str, str]:
    """What hashes depend on beside the code."""
    import torch

    found = {name: version(name) for name in ("torch", "lightning", "transformers")}
    return {**found, "processor": torch.backends.cpu.get_cpu_capability()}


def compare(found: list[Hashes]) -> bool:
    """Prints hashes, and beside those of a later side what differs. Returns whether any does."""
    wide = max(len(name) for name in found[0])
    print(" " * wide, *(f"{part:12}" for part in PARTS))
    differs = False
    for name, first in found[0].items():
        print(f"{name:{wide}}", *(first[part][:12] for part in PARTS))
        for other in (side[name] for side in found[1:]):
            parts = [part for part in PARTS if other[part] != first[part]]
            differs |= bool(parts)
            said = f"differs: {', '.join(parts)}" if parts else "equal"
            print(" " * wide, *(other[part][:12] for part in PARTS), said)
    return differs


def read(path: Path, only: list[str]) -> Hashes:
    """Hashes from a file.

    Raises:
        SystemExit: they were made with other libraries or on another processor.
    """
    saved = json.loads(path.read_text())
    if saved["facts"] != facts():
        raise SystemExit(f"{path} was made with {saved['facts']}; here is {facts()}")
    return {name: found for name, found in saved["hashes"].items() if not only or name in only}


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--checkout", type=Path, action="append", default=[])
    parser.add_argument("--save", type=Path, help="file for the hashes of the first checkout")
    parser.add_argument("--against", type=Path, help="file of hashes to compare with")
    parser.add_argument("--only", nargs="*", default=[], help="names of cases")
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    sides = [read(options.against, options.only)] if options.against else []
    with tempfile.TemporaryDirectory() as folder:
        toys.make(Path(folder, "made"))
        for i, checkout in enumerate(options.checkout):
            home = shutil.copytree(Path(folder, "made"), Path(folder, f"side-{i}"))
            sides.append(measure(checkout.resolve(), home, options.only))
    if options.save:
        made = {"facts": facts(), "hashes": sides[-len(options.checkout)]}
        options.save.write_text(json.dumps(made, indent=1) + "\n")
    sys.exit(compare(sides))


if __name__ == "__main__":
    main()
