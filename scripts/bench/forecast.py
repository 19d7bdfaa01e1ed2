r"""Does the learning curve of `baselines` foretell what more rows give?

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/forecast.py --data DATA --out runs/forecast \
        --sets banking77 ag_news sst2 --seeds 0 1 2 3 4 --threads 1

DATA holds the folders banking77/, ag_news/ and so on. One frozen pass a set gives the vectors of
--rows rows of train, of which 500 choose the penalty of a probe, and of --test-rows rows that score
it: those of the test, or if it has fewer then rows of train. A seed draws 1,000 rows; their
learning curve is measured and continued as `baselines` does for a run on 1,000 rows, by the same
functions. Then probes on 2,000 and 4,000 rows, which hold those 1,000, say what came. A hit is a
measured gain within the forecast's interval.

A finished cell is a line of OUT/cells.jsonl and is not run again. --table prints what is there and
runs nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
from schedules import SETS as OTHERS
from schedules import TEXT, Cell, Set, cells_of, sample

SETS = {
    **{name: OTHERS[name] for name in ("banking77", "ag_news", "sst2", "goemotions")},
    "bitext_support": Set(
        "bitext_support/train.csv", "bitext_support/test.csv", columns=("text", "intent")
    ),
    "titled": Set("ag_news_titled/test.csv", "ag_news_titled/train.csv"),
}
KNOWN = 1000  # rows that a forecast is made from
TIMES = {"twice": 2, "four_times": 4}
VALIDATION = 500


class Ready(NamedTuple):
    """What probes of a set take: the cheap models, the rows, and their vectors."""

    ladder: Any
    data: Any
    frozen: Any


def files(given: argparse.Namespace, name: str, folder: Path) -> tuple[Path, Path]:
    """Writes rows to learn and rows to score.

    Raises:
        SystemExit: there are too few.
    """
    about = SETS[name]
    label = about.columns[1]
    train, test = folder / "train.csv", folder / "test.csv"
    sample(given.data / about.test, given.test_rows, 0, test, label)
    enough = len(lines(test)) > given.test_rows
    sample(given.data / about.train, given.rows + given.test_rows, 0, train, label)
    head, *rows = lines(train)
    cut = len(rows) if enough else len(rows) - given.test_rows
    cut = min(cut, given.rows)
    if cut < max(TIMES.values()) * KNOWN + VALIDATION:
        raise SystemExit(f"{name}: {cut:,} rows to learn are too few: fewer --test-rows leave more")
    write(train, [head, *rows[:cut]])
    if not enough:
        write(test, [head, *rows[cut:][: given.test_rows]])
    return train, test


def lines(path: Path) -> list[list[str]]:
    """The lines of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Writes a table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def ready(given: argparse.Namespace, name: str, folder: Path) -> Ready:
    """Reads a set, and its vectors in one frozen pass."""
    import ftlight
    from ftlight.evidence import baselines

    train, test = files(given, name, folder)
    text, label = SETS[name].columns
    data = ftlight.TextData(
        str(train),
        test=str(test),
        text=text,
        label=label,
        tokenizer=TEXT,
        validation_split=VALIDATION / (len(lines(train)) - 1),
        check="off",
        on_leak="keep",
    )
    task = ftlight.TextClassification(TEXT, labels=data.labels, kind=data.kind)
    task.datamodule = data
    trainer = ftlight.Trainer(run=str(folder / "run"), accelerator="cpu")
    data.setup("fit")
    task.setup("fit")
    ladder = task.ladder(data)
    return Ready(ladder, data, baselines.read(trainer, task, data, ladder, "test"))


def run_seed(found: Ready, seed: int) -> Cell:
    """Forecasts from 1,000 rows, and what more gave."""
    from ftlight.evidence import baselines

    ladder, data, frozen = found
    table = data.load_split("train")
    order = data.drawing(table, 1000 + seed)
    growth = baselines.grow(ladder, data, "test", frozen, 1.0, np.sort(order[:KNOWN]))
    scores = {str(size): values for size, values in growth.scores.items()}
    probe = ladder.rungs[-1]
    for times in TIMES.values():
        rows = np.sort(order[: times * KNOWN])
        more = baselines.measure(ladder, probe, data, "test", rows, frozen, len(rows), 1)
        scores[str(len(rows))] = [float(more.scores.mean())]
    told = {name: getattr(growth.forecast, name)._asdict() for name in TIMES}
    return {"scores": scores, "forecast": told, "cpu": round(growth.spent.processor, 1)}


def run_cells(given: argparse.Namespace, name: str) -> None:
    """Runs the seeds of a set that are not in the file yet."""
    file = given.out / "cells.jsonl"
    given.out.mkdir(parents=True, exist_ok=True)
    about = {"set": name, "rows": given.rows, "test_rows": given.test_rows}
    done = {cell["seed"] for cell in cells_of(file) if about.items() <= cell.items()}
    left = [seed for seed in given.seeds if seed not in done]
    if not left:
        return
    with tempfile.TemporaryDirectory() as home:
        os.environ["FTLIGHT_CACHE"] = f"{home}/cache"
        began = time.process_time()
        found = ready(given, name, Path(home))
        print(f"{name}: vectors in {time.process_time() - began:.0f} s", flush=True)
        for seed in left:
            cell = {**about, "seed": seed, **run_seed(found, seed)}
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(cell) + "\n")
            print(f"{name}, seed {seed}: {cell['scores']}, {cell['forecast']}", flush=True)


def gained(cell: Cell, name: str) -> float:
    """What so many times the rows gave, as measured."""
    scores = cell["scores"]
    return float(scores[str(TIMES[name] * KNOWN)][0] - scores[str(KNOWN)][0])


def hit(cell: Cell, name: str) -> bool:
    """Whether a forecast's interval holds what came."""
    told = cell["forecast"][name]
    return bool(told["low"] <= gained(cell, name) <= told["high"])


def table(cells: Sequence[Cell]) -> str:
    """Forecasts of each draw beside what came, in points, and hits."""
    lines = [
        "| data | score of 1,000 rows | 2,000: forecast | came | 4,000: forecast | came | hits |",
        "|---|---|---|---|---|---|---|",
    ]
    total = 0
    for name in dict.fromkeys(cell["set"] for cell in cells):
        mine = [cell for cell in cells if cell["set"] == name]
        for cell in mine:
            row = [f"{name}, {cell['seed']}", f"{cell['scores'][str(KNOWN)][0]:.4f}"]
            for key in TIMES:
                told = {part: 100 * value for part, value in cell["forecast"][key].items()}
                row.append("{value:+.1f} ({low:.1f} to {high:.1f})".format(**told))
                row.append(f"{100 * gained(cell, key):+.1f}{'' if hit(cell, key) else ' (missed)'}")
            hits = sum(hit(cell, key) for key in TIMES)
            total += hits
            lines.append("| " + " | ".join([*row, f"{hits} of {len(TIMES)}"]) + " |")
        row = [f"{name}, mean", f"{mean(c['scores'][str(KNOWN)][0] for c in mine):.4f}"]
        for key in TIMES:
            row.append(f"{100 * mean(c['forecast'][key]['value'] for c in mine):+.1f}")
            row.append(f"{100 * mean(gained(c, key) for c in mine):+.1f}")
        hits = sum(hit(cell, key) for key in TIMES for cell in mine)
        lines.append("| " + " | ".join([*row, f"{hits} of {len(TIMES) * len(mine)}"]) + " |")
    lines.append(f"| all | | | | | | {total} of {len(TIMES) * len(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Runs what is not in the file yet, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("."), help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/forecast"), help="of cells.jsonl")
    parser.add_argument(
        "--sets", nargs="+", default=["banking77", "ag_news", "sst2"], choices=list(SETS)
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="of draws")
    parser.add_argument("--rows", type=int, default=9000, help="of train, at most")
    parser.add_argument("--test-rows", type=int, default=3000, help="at most")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    given = parser.parse_args()
    if not given.table:
        import torch

        torch.set_num_threads(given.threads)
        for name in given.sets:
            run_cells(given, name)
    cells = [c for c in cells_of(given.out / "cells.jsonl") if c["set"] in given.sets]
    print("\n" + table([cell for cell in cells if cell["seed"] in given.seeds]))


if __name__ == "__main__":
    main()
