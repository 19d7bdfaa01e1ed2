"""Kills a tune again and again, tears its journal, and compares the end with an undisturbed one.

    python scripts/bench/tune_kills.py --home kills --kills 100

A tune of 20 trials of a tiny BERT (four epochs, dropout on, a checkpoint every five steps, two
options that vary) runs undisturbed first. Then the same command is started again and again and
killed with signal 9, with all its processes: three times in four within two seconds after a trial
has trained an epoch, else at any time of the first ten seconds. Every other kill leaves half a line
at the end of the journal, as a process does that is killed while it writes. If it ends before all
kills were made, it begins anew in another folder. The command goes on where it was stopped.

Of every round: whether each start opened the journal, trials that are missing or were finished
twice, and whether score, settings and the weights of last.ckpt and best.ckpt of every trial are
equal to the bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import toys

SWEEP = """parameters:
  model.lr: {min: 1.0e-4, max: 1.0e-2, distribution: log_uniform_values}
  model.unfreeze: {values: [all, gradual, [{train: head, fraction: 0.3}, {train: all}]]}
"""
CONFIG = """model: {task: TextClassification, backbone: bert}
data: {train: text-train.csv, test: text-test.csv, batch_size: 8}
trainer: {max_epochs: 4, accelerator: cpu, save_every: 5}
"""
TORN = b'{"op_code":8,"worker_id":"killed","trial_id":3,"user_attr":{"seconds":1.5}}'
ERRORS = ("Traceback", "ftlight: error")


def command(home: Path, trials: int) -> list[str]:
    words = ["tune", "-c", "toy.yaml", "--sweep", "sweep.yaml", "--trials", str(trials)]
    words += ["--seeds", "1", "--keep", "all", "--prune", "false", "--run", str(home)]
    return [sys.executable, "-m", "ftlight", *words]


def epochs(home: Path) -> int:
    """Epochs of all trials so far."""
    return sum(path.read_text().count("\n") for path in home.glob("trial-*/epochs.csv"))


def killed(home: Path, trials: int, draw: random.Random, log: Path) -> bool:
    """Starts the tune and kills it. Returns whether it ended before."""
    with log.open("a") as file:
        process = subprocess.Popen(
            command(home, trials), stdout=file, stderr=file, start_new_session=True
        )
    begun, before = time.monotonic(), epochs(home)
    if draw.random() < 0.75:
        while process.poll() is None and epochs(home) == before:
            time.sleep(0.05)
        until = time.monotonic() + draw.uniform(0, 2)
    else:
        until = begun + draw.uniform(0, 10)
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    if process.poll() is not None:
        return True
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    journal = home / "journal.log"
    if journal.is_file() and draw.random() < 0.5:
        with journal.open("ab") as torn:
            torn.write(TORN[: draw.randrange(1, len(TORN))])
    return False


def weights(run: Path) -> list[str]:
    """Digests of the weights that a run keeps."""
    from ftlight.training import checkpoint

    found = []
    for name in ("best.ckpt", "last.ckpt"):
        state = checkpoint.load(run / "checkpoints" / name)["state_dict"]
        digest = hashlib.sha256()
        for key, value in state.items():
            digest.update(key.encode() + value.numpy().tobytes())
        found.append(digest.hexdigest())
    return found


def compared(whole: Path, other: Path, trials: int) -> dict[str, Any]:
    """Where a tune that was killed is not as one that was not."""
    a, b = (json.loads((home / "tune.json").read_text())["trials"] for home in (whole, other))
    numbers = Counter(trial["number"] for trial in b)
    plain = [[{**trial, "seconds": 0.0} for trial in one] for one in (a, b)]
    runs = [f"trial-{number:03}" for number in range(trials)]
    told = Counter(
        json.loads(line).get("trial_id")
        for line in (other / "journal.log").read_text().splitlines()
        if json.loads(line).get("op_code") == 6 and json.loads(line).get("state") == 1
    )
    return {
        "trials": len(b),
        "lost": trials - len(numbers),
        "twice": sum(count > 1 for count in (*numbers.values(), *told.values())),
        "other scores or settings": sum(x != y for x, y in zip(*plain, strict=False)),
        "other weights": sum(weights(whole / run) != weights(other / run) for run in runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    home = given.home.absolute()
    os.environ.update(HF_HUB_OFFLINE="1", FTLIGHT_CACHE=str(home / "cache"))
    home.mkdir(parents=True, exist_ok=True)
    made = home / "made"
    if not (made / "toy.yaml").is_file():
        toys.make(made)
        (made / "sweep.yaml").write_text(SWEEP)
        (made / "toy.yaml").write_text(CONFIG)
    os.chdir(made)
    whole = home / "whole"
    if not (whole / "tune.json").is_file():
        subprocess.run(command(whole, given.trials), check=True)
    record = home / "state.json"
    state = json.loads(record.read_text()) if record.is_file() else {"kills": 0, "rounds": []}
    while state["kills"] < given.kills or not ended(home, state):
        draw = random.Random(f"{given.seed} {state['kills']} {len(state['rounds'])}")
        place, log = home / f"killed-{len(state['rounds'])}", home / "log"
        if state["kills"] >= given.kills:
            with log.open("a") as file:
                subprocess.run(command(place, given.trials), stdout=file, stderr=file, check=True)
            has_ended = True
        else:
            has_ended = killed(place, given.trials, draw, log)
            state["kills"] += not has_ended
        if has_ended and not (place / "tune.json").is_file():
            raise SystemExit(f"it ended by itself without an end: see {log}")
        if has_ended:
            state["rounds"].append(compared(whole, place, given.trials))
        record.write_text(json.dumps(state))
    faults = sum((home / "log").read_text().count(word) for word in ERRORS)
    print(f"{state['kills']} kills, {faults} errors in what was printed")
    heads = list(state["rounds"][0])
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for found in state["rounds"]:
        print("| " + " | ".join(str(value) for value in found.values()) + " |")


def ended(home: Path, state: dict[str, Any]) -> bool:
    """Whether no tune is left half done."""
    return not (home / f"killed-{len(state['rounds'])}").exists()


if __name__ == "__main__":
    main()
