r"""Fine-tuning against training from scratch: score, time, and rows for the same score.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/mission.py --data DATA --out runs/mission \
        --sets banking77 sst2 ag_news --threads 1

DATA holds the folders banking77/, sst2/ and ag_news/. Fine-tuned is `fit` with its defaults, but
for --steps and no early stopping; from scratch is the same with what `baselines --scratch` changes
(random weights, all layers), for as many steps and for ten times as many. Cells of a set, in turn
in one process that has its imports:

1. `choose`: from scratch on --rows rows at each of three rates, for --steps. The score is that of
   --dev-rows other rows of train. The default rate, which `baselines --scratch` takes, is one of
   them; the rate of the highest score is that of all that follows. No test row is looked at.
2. `tuned`: fine-tuned on 100, 300 and --rows rows.
3. `scratch`: on --rows rows for --steps; on --rows, 3,000 and --most rows for ten times as many.

A draw of rows holds the smaller ones, each label comes first, and a tenth of it is held out to
choose the checkpoint. Scores of 2 and 3 are those of at most --test-rows rows of the test. Seconds
are those of `fit`, by the clock and of processors. Rows needed are interpolated between the sizes
measured, on a logarithmic scale.

About 90 minutes of one core for the three sets, with MiniLM in bf16 where the processor has it.
A finished cell is a line of OUT/cells.jsonl and is not run again; two starts may work side by side,
each on its own --sets and with its own --out. --table prints what is there and runs nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from regularisers import development
from schedules import SETS, Cell, cells_of, measure, words

RATES = ("", "3e-4", "1e-3")  # of training from scratch; "" is the default, 1e-4 of MiniLM
FEW = (100, 300)  # rows to fine-tune on beside --rows
MORE = (3000,)  # rows to train on from scratch, between --rows and --most
LONG = 10  # times the steps
TUNED, SCRATCH, CHOOSE = "tuned", "scratch", "choose"


def planned(given: argparse.Namespace) -> Iterator[Cell]:
    """The cells of a set and seed, but for the rate of those whose rate is chosen."""
    for rate in RATES:
        yield {"part": CHOOSE, "rows": given.rows, "steps": given.steps, "rate": rate}
    for rows in (*FEW, given.rows):
        yield {"part": TUNED, "rows": rows, "steps": given.steps, "rate": ""}
    yield {"part": SCRATCH, "rows": given.rows, "steps": given.steps}
    for rows in (given.rows, *MORE, given.most):
        yield {"part": SCRATCH, "rows": rows, "steps": LONG * given.steps}


def chosen(cells: Sequence[Cell], name: str, about: Cell) -> str:
    """The rate of the highest score on rows that are not the test's; the first of equals."""
    mine = [c for c in cells if (c["part"], c["set"], c["seed"]) == (CHOOSE, name, about["seed"])]
    mine = [c for c in mine if c["base"] == about["base"]]
    return str(max(mine, key=lambda cell: cell["score"])["rate"])


def taken(run: Path) -> Cell:
    """How many steps a run took."""
    with (run / "metrics.csv").open(newline="") as file:
        return {"taken": 1 + max(int(row["step"]) for row in csv.DictReader(file))}


def run_cell(given: argparse.Namespace, name: str, about: Cell) -> Cell:
    """Trains and scores a cell."""
    from ftlight.cli.baseline_runs import AFRESH

    folder = given.out / "data"
    options = words(given, name, about["rows"], folder)
    if about["part"] == CHOOSE:
        options += ["--data.test", str(development(given, name, folder))]
    if about["rate"]:
        options += ["--model.lr", about["rate"]]
    schedule = "gradual"  # the default
    if about["part"] != TUNED:
        changed = dict(zip(AFRESH[::2], AFRESH[1::2], strict=True))
        schedule = changed.pop("--model.unfreeze")
        options += [word for pair in changed.items() for word in pair]
    return about | measure(options, schedule, about, taken)


def run_set(given: argparse.Namespace, name: str, seed: int) -> None:
    """Runs the cells of a set and seed that are not in the file yet."""
    file = given.out / "cells.jsonl"
    (given.out / "data").mkdir(parents=True, exist_ok=True)
    for cell in planned(given):
        about = {"set": name, "seed": seed, "base": [given.rows, given.steps, given.most], **cell}
        if "rate" not in about:
            about["rate"] = chosen(cells_of(file), name, about)
        if any(about.items() <= done.items() for done in cells_of(file)):
            continue
        made = run_cell(given, name, about)
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(made) + "\n")
        told = "{set}, {part}, {rows:,} rows, {steps:,} steps, rate {rate}".format(
            **made | {"rate": made["rate"] or "by default"}
        )
        print(f"{told}: {made['score']:.4f} in {made['cpu']:.0f} s of processors", flush=True)


def needed(scores: Mapping[int, float], target: float) -> str:
    """The fewest rows with a score, interpolated between sizes on a logarithmic scale.

    >>> needed({100: 0.5, 1000: 0.7}, 0.6), needed({100: 0.5}, 0.5), needed({100: 0.5}, 0.6)
    ('320', 'at most 100', 'more than 100')
    """
    sizes = sorted(scores)
    if scores[sizes[0]] >= target:
        return f"at most {sizes[0]:,}"
    for less, more in pairwise(sizes):
        if scores[more] >= target:
            share = (target - scores[less]) / (scores[more] - scores[less])
            rows = math.exp(math.log(less) + share * math.log(more / less))
            digits = 1 - math.floor(math.log10(rows))
            return f"{round(rows, digits):,.0f}"
    return f"more than {sizes[-1]:,}"


def table(cells: Sequence[Cell]) -> str:
    """Scores and seconds of each cell, then the rows that both need for the same score."""
    lines = [
        "| data, seed | trained | rows | steps | score | processor s | clock s |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        if cell["part"] == CHOOSE:
            continue
        how = "fine-tuned" if cell["part"] == TUNED else f"from scratch, at {_rate(cell)}"
        row = [f"{cell['set']}, {cell['seed']}", how, f"{cell['rows']:,}", f"{cell['taken']:,}"]
        row += [f"{cell['score']:.4f}", f"{cell['cpu']:.0f}", f"{cell['seconds']:.0f}"]
        lines.append("| " + " | ".join(row) + " |")
    lines += [
        "",
        "| data, seed | from scratch, most rows and steps | rows to fine-tune on for that "
        "| fine-tuned, most rows | rows from scratch for that |",
        "|---|---|---|---|---|",
    ]
    for name, seed in dict.fromkeys((cell["set"], cell["seed"]) for cell in cells):
        mine = [cell for cell in cells if (cell["set"], cell["seed"]) == (name, seed)]
        tuned = {c["rows"]: c["score"] for c in mine if c["part"] == TUNED}
        long = [c for c in mine if c["part"] == SCRATCH and c["steps"] > c["base"][1]]
        scratch = {cell["rows"]: cell["score"] for cell in long}
        if len(tuned) == len(FEW) + 1 and len(scratch) == len(MORE) + 2:
            last, best = max(scratch), max(tuned)
            row = [f"{name}, {seed}", f"{scratch[last]:.4f} ({last:,} rows)"]
            row += [needed(tuned, scratch[last]), f"{tuned[best]:.4f} ({best:,} rows)"]
            lines.append("| " + " | ".join([*row, needed(scratch, tuned[best])]) + " |")
    return "\n".join(lines)


def _rate(cell: Cell) -> str:
    return str(cell["rate"] or "the default rate")


def parse() -> Any:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [name for name, about in SETS.items() if about.task == "TextClassification"]
    parser.add_argument("--data", type=Path, default=Path("."), help="folder of the data sets")
    parser.add_argument("--models", type=Path, default=Path("."), help="not used by texts")
    parser.add_argument("--out", type=Path, default=Path("runs/mission"), help="of cells.jsonl")
    parser.add_argument(
        "--sets", nargs="+", default=["banking77", "sst2", "ag_news"], choices=known
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the runs")
    parser.add_argument("--rows", type=int, default=1000, help="of the fine-tuned run")
    parser.add_argument("--most", type=int, default=10000, help="rows from scratch, at most")
    parser.add_argument("--dev-rows", type=int, default=1000, help="that choose the rate")
    parser.add_argument("--test-rows", type=int, default=2000, help="at most")
    parser.add_argument("--steps", type=int, default=150, help="of the fine-tuned run")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    return parser.parse_args()


def main() -> None:
    """Runs what is not in the file yet, and prints the tables."""
    given = parse()
    if not given.table:
        import torch

        torch.set_num_threads(given.threads)
        for seed in given.seeds:
            for name in given.sets:
                run_set(given, name, seed)
    base = [given.rows, given.steps, given.most]
    cells = [c for c in cells_of(given.out / "cells.jsonl") if c["base"] == base]
    print("\n" + table([c for c in cells if c["set"] in given.sets and c["seed"] in given.seeds]))


if __name__ == "__main__":
    main()
