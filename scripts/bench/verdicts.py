r"""Is the verdict at the end of `fit` right? Seven situations, planted in real data.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/verdicts.py --data DATA --out runs/verdicts \
        --sets banking77 --seeds 0 1 2

DATA holds the folders banking77/, ag_news/, sst2/ and bitext_support/. A seed draws other rows of a
set, of BANKING77 and of Bitext other intents (12), and is that of the run. Validation rows have a
file of their own. A right verdict is one of those that SITUATIONS names; "fine" must never be said
of another situation.

All but "fine, head" train the two top layers, from stored activations: that takes a third of the
time of all layers.

A finished cell is a line of OUT/cells.jsonl and is not run again; it keeps what the verdict was
decided from. --table decides on that anew and runs nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import io
import itertools
import json
import logging
import os
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TEXT = "sentence-transformers/all-MiniLM-L6-v2"
Row = tuple[str, str]
Cell = dict[str, Any]


class Situation(NamedTuple):
    """What is planted.

    Attributes:
        right: verdicts that are right.
        rows: rows of train; less than 0 for so many a label.
        options: of `fit`.
        wrong: share of labels that are replaced by others, of train and validation alike.
        shuffled: whether labels are dealt to rows at random.
        tuned: whether it begins with a run on sound data, and validates on sound rows.
    """

    right: tuple[str, ...]
    rows: int
    options: tuple[str, ...]
    wrong: float = 0.0
    shuffled: bool = False
    tuned: bool = False


def epochs(count: int, *more: str) -> tuple[str, ...]:
    """Options that train for so many epochs, whatever validation says."""
    return ("--trainer.max_epochs", str(count), "--trainer.patience", "0", *more)


SPARSE = ("--trainer.check_val_every_n_epoch", "3")
SITUATIONS = {
    "too few rows": Situation(("too few rows",), -2, epochs(30, *SPARSE)),
    "too long": Situation(("overfitting",), 240, epochs(14)),
    "rate too high": Situation(("rate too high",), 400, epochs(3, "--model.lr", "0.01")),
    "label noise": Situation(("label noise",), 800, epochs(3), wrong=0.4),
    "shuffled labels": Situation(("no signal",), 400, epochs(4), shuffled=True),
    "worse than untuned": Situation(("worse than base",), 240, epochs(2), wrong=0.9, tuned=True),
    "fine": Situation(("fine",), 800, epochs(3)),
}
MORE = {  # further ones, to see what else is said
    "rate of 3e-3": Situation(("rate too high",), 400, epochs(3, "--model.lr", "0.003")),
    "fine, head": Situation(("fine",), 800, ("--model.unfreeze", "head")),
    "fine, defaults": Situation(("fine",), 500, ()),
    "too short": Situation(("too short",), 200, epochs(1)),
    "20 % noise": Situation(("label noise", "fine"), 800, epochs(3), wrong=0.2),
    "shuffled, tiny": Situation(("no signal", "too few rows"), -5, epochs(4), shuffled=True),
    "fine, from": Situation(("fine", "cannot tell"), 800, epochs(1), tuned=True),
}
SETS = {  # file, columns, labels that a seed draws
    "banking77": ("banking77/train.csv", "text", "category", 12),
    "bitext_support": ("bitext_support/train.csv", "text", "intent", 12),
    "ag_news": ("ag_news/train.csv", "text", "label", 0),
    "sst2": ("sst2/train.csv.gz", "text", "label", 0),
}
VALIDATION = 240


def draw(given: argparse.Namespace, name: str, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows of a set in an order of the seed: those to train on, and those to validate on."""
    file, text, label, count = SETS[name]
    path = given.data / file
    opening = gzip.open if path.suffix == ".gz" else open
    with opening(path, "rt", newline="", encoding="utf-8") as source:
        rows = list(dict.fromkeys((row[text], row[label]) for row in csv.DictReader(source)))
    random_ = random.Random(seed)
    labels = sorted({row[1] for row in rows})
    wanted = set(random_.sample(labels, count) if count else labels)
    rows = [row for row in rows if row[1] in wanted]
    random_.shuffle(rows)
    return rows[VALIDATION:], rows[:VALIDATION]


def planted(rows: Sequence[Row], about: Situation, seed: int) -> list[Row]:
    """Rows with the labels of a situation."""
    random_ = random.Random(seed)
    labels = sorted({label for _, label in rows})
    if about.shuffled:
        dealt = [label for _, label in rows]
        random_.shuffle(dealt)
        return [(text, label) for (text, _), label in zip(rows, dealt, strict=True)]
    made = []
    for text, label in rows:
        others = [other for other in labels if other != label]
        made.append((text, random_.choice(others) if random_.random() < about.wrong else label))
    return made


def first(rows: Sequence[Row], count: int) -> list[Row]:
    """The first rows: so many, or if that is less than 0 so many of each label."""
    if count >= 0:
        return list(rows[:count])
    seen: dict[str, list[Row]] = {}
    for row in rows:
        seen.setdefault(row[1], []).append(row)
    return [row for mine in seen.values() for row in mine[:-count]]


def write(path: Path, rows: Sequence[Row]) -> str:
    """Writes rows as CSV. Returns the file's name."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(path)


def fit(folder: Path, train: str, validation: str, seed: int, *options: str) -> None:
    """Trains a run in this process.

    Raises:
        RuntimeError: it failed.
    """
    from ftlight.__main__ import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(
            [
                *("fit", "--model", "TextClassification", "--model.backbone", TEXT),
                *("--data.train", train, "--data.validation", validation),
                *(
                    "--model.unfreeze",
                    "last:2",
                    "--data.check",
                    "off",
                    "--trainer.enable_progress_bar",
                    "false",
                ),
                *("--seed", str(seed), "--run", str(folder), *options),
            ]
        )
    for logger in ("ftlight", "lightning.pytorch"):
        logging.getLogger(logger).handlers.clear()
    if status:
        raise RuntimeError(f"status {status}: {said.getvalue()[-2000:]}")


def measure(given: argparse.Namespace, name: str, situation: str, seed: int) -> Cell:
    """Plants a situation and trains on it."""
    from ftlight.evidence.learned import facts_of

    about = {**SITUATIONS, **MORE}[situation]
    rows, validation = draw(given, name, seed)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ["FTLIGHT_CACHE"] = f"{home}/cache"
        begun, options = time.process_time(), list(about.options)
        if about.tuned:
            sound = write(home / "sound.csv", rows[600:1100])
            clean = write(home / "clean.csv", validation)
            fit(home / "sound", sound, clean, seed, *epochs(2))
            options += ["--from", str(home / "sound")]
        train = write(home / "train.csv", planted(first(rows, about.rows), about, seed))
        wrong = validation if about.tuned else planted(validation, about, seed + 1)
        checked = write(home / "validation.csv", wrong)
        fit(home / "run", train, checked, seed, *options)
        verdict = json.loads((home / "run" / "verdict.json").read_text())
        facts = facts_of(home / "run")._asdict()
        return {
            "seconds": round(time.process_time() - begun, 1),
            "said": verdict["sentence"],
            "facts": {key: plain(value) for key, value in facts.items()},
        }


def plain(value: Any) -> Any:
    """A value as JSON holds it."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def decided(cell: Cell) -> Any:
    """The verdict on the facts of a cell."""
    from ftlight.evidence.rules import decide
    from ftlight.evidence.verdict import Facts

    facts = {"total": max(cell["facts"]["train_steps"], default=0), **cell["facts"]}
    for key in ("rows", "chance", "sure", "test"):
        facts[key] = None if facts[key] is None else np.asarray(facts[key])
    if facts["start"] is not None:
        facts["start"] = tuple(map(np.asarray, facts["start"]))
    return decide(Facts(**facts))


def cells_of(file: Path) -> list[Cell]:
    """The finished cells."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


def table(cells: Sequence[Cell]) -> str:
    """What is said of each situation, and how often that is right."""
    lines = ["| set | planted | said, by seed | right | false fine |", "|---|---|---|---|---|"]
    sums = {"right": 0, "fine": 0, "all": 0}
    for name, situation in dict.fromkeys((cell["set"], cell["planted"]) for cell in cells):
        mine = [c for c in cells if (c["set"], c["planted"]) == (name, situation)]
        kinds = {cell["seed"]: decided(cell).kind for cell in mine}
        expected = {**SITUATIONS, **MORE}[situation].right
        right = sum(kind in expected for kind in kinds.values())
        wrong = sum(kind == "fine" for kind in kinds.values()) if "fine" not in expected else 0
        sums = {
            "right": sums["right"] + right,
            "fine": sums["fine"] + wrong,
            "all": sums["all"] + len(kinds),
        }
        said = ", ".join(f"{seed}: {kind}" for seed, kind in sorted(kinds.items()))
        lines.append(f"| {name} | {situation} | {said} | {right} of {len(kinds)} | {wrong} |")
    total = f"| all | | | {sums['right']} of {sums['all']} | {sums['fine']} |"
    return "\n".join([*lines, total])


def main() -> None:
    """Runs what is not in the file yet, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("."), help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/verdicts"), help="of cells.jsonl")
    parser.add_argument("--sets", nargs="+", default=["banking77"], choices=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    known = [*SITUATIONS, *MORE]
    parser.add_argument("--only", nargs="+", default=list(SITUATIONS), choices=known)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    given = parser.parse_args()
    file = given.out / "cells.jsonl"
    given.out.mkdir(parents=True, exist_ok=True)
    if not given.table:
        import torch

        torch.set_num_threads(given.threads)
        for seed, name, situation in itertools.product(given.seeds, given.sets, given.only):
            about = {"set": name, "planted": situation, "seed": seed}
            if any(about.items() <= cell.items() for cell in cells_of(file)):
                continue
            cell = about | measure(given, name, situation, seed)
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(cell) + "\n")
            print(
                f"{name}, {situation}, {seed}, {cell['seconds']:.0f} s: {cell['said']}", flush=True
            )
    cells = [c for c in cells_of(file) if c["set"] in given.sets and c["seed"] in given.seeds]
    print("\n" + table([c for c in cells if c["planted"] in given.only]))


if __name__ == "__main__":
    main()
