r"""Freezing schedules side by side: a grid of data sets, schedules and seeds.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/schedules.py --data DATA --models MODELS \
        --out runs/schedules --seeds 0 1 2

DATA holds the folders banking77/, sst2/ and so on, MODELS the folder mobilenet_v2/. A cell is
`fit`, then `test` of the checkpoint that validation chose, with the defaults but for --rows,
--steps and no early stopping, and with an empty cache of activations. Training rows are the first
of a seeded shuffle (of a file with its own validation rows: those too); test rows at most
--test-rows.

Cells go seed by seed, set by set, the schedules of a set in turn in one process that has its
imports, so that their times compare; who begins moves on with the seed. Seconds are those of `fit`:
reading, loading, training, validations, checkpoints. The table takes those of the CPU, which other
work on the machine changes less. A finished cell is a line of OUT/cells.jsonl and is not run again.
Two starts may work side by side, each on its own --sets, with --threads 1.

--schedule NAME=YAML adds a schedule; --table prints what is there and runs nothing.
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
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

SCHEDULES = {
    "all": "all",
    "no embeddings": "[{train: [all, -embeddings]}]",
    "head": "head",
    "last:2": "last:2",
    "lp_ft": "lp_ft",
    "gradual": "gradual",
    "gradual, half": "[{train: head}, {train: last:1, fraction: 0.2}, {train: last:3}]",
    "bottom at 50 %": "[{train: all, fraction: 0.5}, {train: last:3}]",
    "bottom at 75 %": "[{train: all, fraction: 0.75}, {train: last:3}]",
    "auto": "auto",
}
TEXT = "sentence-transformers/all-MiniLM-L6-v2"
Cell = dict[str, Any]


class Set(NamedTuple):
    """A data set: its files, the score to compare, columns, and further options of ``fit``."""

    train: str
    test: str
    metric: str = "accuracy"
    columns: tuple[str, ...] = ("text", "label")
    validation: str = ""
    task: str = "TextClassification"
    options: tuple[str, ...] = ()


PAIR = ("text_a", "label", "text_b")
IMAGES = ("--data.batch_size", "16", "--data.augment", "none")
SETS = {
    "banking77": Set("banking77/train.csv", "banking77/test.csv", columns=("text", "category")),
    "sst2": Set("sst2/train.csv.gz", "sst2/validation.csv.gz"),
    "mrpc": Set("mrpc/train.csv", "mrpc/test.csv", columns=PAIR),
    "ag_news": Set("ag_news/train.csv", "ag_news/test.csv"),
    "goemotions": Set(
        "goemotions/train.csv.gz", "goemotions/test.csv.gz", "f1", columns=("text", "labels")
    ),
    "stsb": Set("stsb/train.csv", "stsb/validation.csv", "spearman", ("text_a", "score", "text_b")),
    "wnut17": Set(
        *("wnut17/train.conll", "wnut17/test.conll", "f1"),
        validation="wnut17/validation.conll",
        task="TokenClassification",
    ),
    "trashnet": Set(*("trashnet/trashnet.zip", ""), task="ImageClassification", options=IMAGES),
}


def sample(source: Path, rows: int, seed: int, target: Path, label: str) -> Path:
    """Writes so many rows of a table, or sentences of a CoNLL file, in a seeded order.

    The first rows with each label come first, so that none is missing.
    """
    opening = gzip.open if source.suffix == ".gz" else open
    with opening(source, "rt", newline="", encoding="utf-8") as file:
        if source.suffix == ".conll":
            sentences = [s for s in re.split(r"\n\s*\n", file.read().replace("\r", "")) if s]
            random.Random(seed).shuffle(sentences)
            target.write_text("\n\n".join(sentences[:rows]) + "\n", encoding="utf-8")
            return target
        head, *lines = csv.reader(file)
    random.Random(seed).shuffle(lines)
    if label:
        at, seen, first, others = head.index(label), set[str](), [], []
        for line in lines:
            labels = set(line[at].split("|"))
            (others if labels <= seen else first).append(line)
            seen |= labels
        lines = [*first, *others]
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *lines[:rows]])
    return target


def words(given: argparse.Namespace, name: str, rows: int, folder: Path) -> list[str]:
    """The options of a set, with its files of so many rows."""
    about = SETS[name]
    backbone = str(given.models / "mobilenet_v2") if about.task[0] == "I" else TEXT
    made = ["--model", about.task, "--model.backbone", backbone, *about.options]
    if about.task == "ImageClassification":
        return [*made, "--data.train", str(given.data / about.train)]
    for split, count in (("train", rows), ("validation", rows // 3), ("test", given.test_rows)):
        if file := getattr(about, split):
            target = folder / f"{name}-{split}-{count}{Path(file.removesuffix('.gz')).suffix}"
            label = "" if about.metric == "spearman" else about.columns[1]
            made += [f"--data.{split}", str(sample(given.data / file, count, 0, target, label))]
    columns = zip(("text", "label", "text_pair"), about.columns, strict=False)
    if about.task == "TextClassification":
        made += [word for key, column in columns for word in (f"--data.{key}", column)]
    return made


def call(*arguments: str) -> str:
    """Runs a command in this process. Returns what it printed.

    Raises:
        RuntimeError: it failed.
    """
    from ftlight.__main__ import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(list(arguments))
    for logger in ("ftlight", "lightning.pytorch"):
        logging.getLogger(logger).handlers.clear()
    if status:
        raise RuntimeError(f"{' '.join(arguments)}: status {status}: {said.getvalue()[-2000:]}")
    return said.getvalue()


def validations(run: Path, metric: str) -> list[float]:
    """The validation scores of a run, in order."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == f"val/{metric}"]
    return [float(row["value"]) for row in rows]


def measure(
    options: list[str], schedule: str, about: Cell, more: Callable[[Path], Cell] | None = None
) -> Cell:
    """Trains and tests a cell.

    Args:
        options: those of ``fit``.
        schedule: value of ``unfreeze``.
        about: what tells it from other cells: its set, seed and steps among that.
        more: looks at the run before it is deleted.
    """
    metric = SETS[about["set"]].metric
    with tempfile.TemporaryDirectory() as home:
        os.environ["FTLIGHT_CACHE"] = f"{home}/cache"
        run = Path(home) / "run"
        began, cpu = time.perf_counter(), time.process_time()
        said = call(
            *("fit", *options, "--model.unfreeze", schedule, "--seed", str(about["seed"])),
            *("--trainer.max_steps", str(about["steps"]), "--trainer.patience", "0"),
            *("--trainer.enable_progress_bar", "false", "--test", "false", "--run", str(run)),
        )
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        call("test", str(run))
        scores = json.loads((run / "test_metrics.json").read_text())
        return {
            "score": scores[f"test/{metric}"],
            "validation": validations(run, metric),
            "seconds": round(seconds, 2),
            "cpu": round(cpu, 2),
            "said": [line for line in said.splitlines() if "kept" in line or "auto:" in line],
            **(more(run) if more else {}),
        }


def cells_of(file: Path) -> list[Cell]:
    """The finished cells."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


def run_grid(given: argparse.Namespace, schedules: dict[str, str]) -> None:
    """Runs the cells that are not in the file yet."""
    file = given.out / "cells.jsonl"
    folder = given.out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for seed, entry in itertools.product(given.seeds, given.sets):
        name, _, limit = entry.partition("=")
        rows = int(limit or given.rows)
        options = [*words(given, name, rows, folder), *given.options]
        names = list(schedules)
        for schedule in [*names[seed % len(names) :], *names[: seed % len(names)]]:
            about = {"set": name, "rows": rows, "schedule": schedule, "seed": seed}
            about |= {"unfreeze": schedules[schedule], "steps": given.steps}
            about |= {"options": given.options}
            if any(about.items() <= cell.items() for cell in cells_of(file)):
                continue
            cell = about | measure(options, schedules[schedule], about)
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(cell) + "\n")
            told = "{set} {rows}, {schedule}, seed {seed}: {score:.4f} in {seconds:.0f} s".format(
                **cell
            )
            found = [round(score, 4) for score in cell["validation"]]
            print(f"{told}; on validation {found[0]} … {max(found)} … {found[-1]}", flush=True)


def table(cells: Sequence[Cell]) -> str:
    """Mean test scores in points and their spread by set, and CPU time as a share of `all`."""
    found: dict[tuple[str, str], dict[int, Cell]] = {}
    for cell in cells:
        rows = cell["rows"]
        key = (f"{cell['set']} {rows:,}", cell["schedule"])
        found.setdefault(key, {})[cell["seed"]] = cell
    sets, schedules = ([*dict.fromkeys(key[i] for key in found)] for i in (0, 1))
    lines = ["| schedule | " + " | ".join(sets) + " | mean less `all` | time |"]
    lines += ["|---" * (len(sets) + 3) + "|"]
    for schedule in schedules:
        row, gains, spent = [schedule], [], []
        for name in sets:
            mine, full = found.get((name, schedule), {}), found.get((name, "all"), {})
            both = mine.keys() & full.keys()
            if not mine:
                row.append("")
                continue
            scores = [100 * cell["score"] for cell in mine.values()]
            spread = f" ({min(scores):.1f} to {max(scores):.1f})" if len(scores) > 1 else ""
            row.append(f"{mean(scores):.1f}{spread}")
            if both:
                ratios = [mine[s]["cpu"] / full[s]["cpu"] for s in both]
                row[-1] += f", {median(ratios):.2f} ×"
                gains.append(100 * mean(mine[s]["score"] - full[s]["score"] for s in both))
                spent += [(mine[s]["cpu"], full[s]["cpu"]) for s in both]
        total = sum(mine for mine, _ in spent) / sum(full for _, full in spent) if spent else 0
        row += [f"{mean(gains):+.2f}", f"{total:.2f} ×"] if spent else ["", ""]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("."), help="folder of the data sets")
    parser.add_argument("--models", type=Path, default=Path("."), help="folder of mobilenet_v2")
    parser.add_argument("--out", type=Path, default=Path("runs/schedules"), help="of cells.jsonl")
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="NAME, or NAME=ROWS")
    parser.add_argument("--only", nargs="+", default=list(SCHEDULES), help="schedules")
    parser.add_argument("--schedule", action="append", default=[], help="NAME=YAML, one more")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the runs")
    parser.add_argument("--rows", type=int, default=3000, help="of training, at most")
    parser.add_argument("--test-rows", type=int, default=3000, help="at most")
    parser.add_argument("--steps", type=int, default=300, help="of a run")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    parser.add_argument("options", nargs="*", help="further options of fit, behind --")
    return parser.parse_args()


def main() -> None:
    given = parse()
    schedules = {name: SCHEDULES[name] for name in given.only if name in SCHEDULES}
    schedules |= dict(entry.split("=", 1) for entry in given.schedule)
    if not given.table:
        import torch

        torch.set_num_threads(given.threads)
        run_grid(given, schedules)
    cells = cells_of(given.out / "cells.jsonl")
    print("\n" + table([cell for cell in cells if cell["schedule"] in schedules]))


if __name__ == "__main__":
    main()
