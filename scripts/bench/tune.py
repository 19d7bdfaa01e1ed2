"""What a tune costs and gains: pruning on and off, and 20 settings of a head beside single runs.

    python scripts/bench/tune.py configs/quickstart.yaml --out tune.jsonl

`prune`: a tune of 20 trials with pruning and one without, on three seeds: seconds of all trials,
the best validation score, and the test of the trial with that score (not of the config as it is,
which a tune keeps within noise). Both begin with the same ten settings, drawn by seed and number.

`head`: 20 trials of the settings of a solved head, on one seed, beside a single `fit` of the config
with the same head, and one of the config as it is: seconds of the whole commands, with their
imports and tests. The store of activations is new for each.

A line of JSON for each tune; the command goes on where it was stopped, and ends with the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def timed(verb: str, words: list[str], cache: Path) -> float:
    """Seconds of a command, which must succeed."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "ftlight", verb, *words]
    subprocess.run(command, check=True, env={**os.environ, "FTLIGHT_CACHE": str(cache)})
    return time.monotonic() - begun


def tested(run: Path, cache: Path) -> float | None:
    """The test accuracy of a run, or its first metric."""
    timed("test", [str(run)], cache)
    found = json.loads((run / "test_metrics.json").read_text())
    numbers = [v for k, v in found.items() if k.startswith("test/") and isinstance(v, float)]
    return found.get("test/accuracy", next(iter(numbers), None))


def pruning(
    config: str, seed: int, prunes: bool, trials: int, options: list[str]
) -> dict[str, Any]:
    """One tune, with pruning or without."""
    with tempfile.TemporaryDirectory() as made:
        home, cache = Path(made) / "tune", Path(made) / "cache"
        words = ["-c", config, "--trials", str(trials), "--seeds", "1", "--keep", "all"]
        words += ["--prune", str(prunes).lower(), "--seed", str(seed), "--run", str(home), *options]
        whole = timed("tune", words, cache)
        found = json.loads((home / "tune.json").read_text())
        known = [trial for trial in found["trials"] if trial["score"] is not None]
        sign = 1 if found["goal"] == "max" else -1
        best = max(known, key=lambda trial: (sign * trial["score"], -trial["number"]))
        return {
            "seconds": sum(trial["seconds"] for trial in known),
            "whole": whole,
            "pruned": sum(trial["state"] == "pruned" for trial in known),
            "validation": best["score"],
            "test": tested(home / f"trial-{best['number']:03}", cache),
            "config": known[0]["score"],
        }


def head(config: str, trials: int, options: list[str]) -> dict[str, Any]:
    """Trials of a head beside single runs."""
    alone = ["--model.unfreeze", "head"]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        for name, words in (("config", []), ("head", alone)):
            own = ["-c", config, *options, *words, "--run", str(home / name)]
            found[name] = timed("fit", own, home / f"cache-{name}")
        own = ["-c", config, *options, *alone, "--trials", str(trials), "--seeds", "1"]
        found["tune"] = timed("tune", [*own, "--run", str(home / "tune")], home / "cache-tune")
        trials_made = json.loads((home / "tune" / "tune.json").read_text())["trials"]
        found["trials"] = len(trials_made)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", nargs="*", default=["prune", "head"])
    given, options = parser.parse_known_args()
    known = {}
    if given.out.is_file():
        lines = map(json.loads, given.out.read_text().splitlines())
        known = {line["name"]: line for line in lines}
    jobs = [(f"prune {prunes} {seed}", seed, prunes) for seed in range(given.seeds)
            for prunes in (False, True)] if "prune" in given.parts else []  # fmt: skip
    for name, seed, prunes in jobs:
        if name not in known:
            known[name] = pruning(given.config, seed, prunes, given.trials, options)
            write(given.out, name, known[name])
    if "head" in given.parts and "head" not in known:
        known["head"] = head(given.config, given.trials, options)
        write(given.out, "head", known["head"])
    for name, found in known.items():
        shown = ", ".join(
            f"{key} {value:.4g}" for key, value in found.items() if isinstance(value, int | float)
        )
        print(f"| {name} | {shown} |")
    if jobs:
        took = {p: sum(known[n]["seconds"] for n, _, q in jobs if q is p) for p in (False, True)}
        print(f"pruning saves {1 - took[True] / took[False]:.0%} of the seconds of the trials")


def write(out: Path, name: str, found: dict[str, Any]) -> None:
    with out.open("a") as file:
        file.write(json.dumps({"name": name, **found}) + "\n")


if __name__ == "__main__":
    main()
