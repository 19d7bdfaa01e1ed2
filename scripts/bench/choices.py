r"""`model.lr: auto` and `data.batch_size: auto` beside a grid of five.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/choices.py --data DATA --out runs/choices \
        --sets banking77 sst2 --seeds 0 1 2

DATA holds the folders banking77/, sst2/ and so on. A cell is `fit` on --rows rows for --epochs
epochs, with the defaults beside, then `test`. The rates of the grid are a ninth to nine times the
default, for all layers alike, since `model.lr` gives one; the sizes 8 to 128 rows, with the rates
that the rule of `auto` gives them and with the unscaled ones. Seconds are those of the CPU.

A finished cell is a line of OUT/cells.jsonl and is not run again; --table prints what is there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from pathlib import Path
from statistics import mean
from typing import Any

from schedules import SETS, cells_of, measure, words

from ftlight.utils.format import table

Cell = dict[str, Any]
RATES = ["1.1e-5", "3.3e-5", "1e-4", "3e-4", "9e-4"]  # the default of MiniLM's layers is 1e-4
SIZES = ["8", "16", "32", "64", "128"]
LIMIT = 10**6  # steps, which no run here takes
SCALED = ["--model.lr_scaling", "sqrt"]
ARMS = {
    "lr": {
        "default": [],
        "auto": ["--model.lr", "auto"],
        **{rate: ["--model.lr", rate] for rate in RATES},
    },
    "batch_size": {
        "auto": ["--data.batch_size", "auto"],
        **{size: ["--data.batch_size", size, *SCALED] for size in SIZES},
        **{f"{size}, unscaled": ["--data.batch_size", size] for size in SIZES if size != "32"},
    },
}


def lines(cells: list[Cell]) -> list[list[str]]:
    """The table."""
    rows = [["data", "option", "value", "test, mean", "seeds", "validation", "CPU s", "chosen"]]
    for (name, option), values in itertools.product(SETS, ARMS.items()):
        for value in values:
            mine = [
                cell
                for cell in cells
                if (cell["set"], cell["option"], cell["value"]) == (name, option, value)
            ]
            if not mine:
                continue
            scores = [cell["score"] for cell in mine]
            best = mean(max(cell["validation"]) for cell in mine)
            said = [line for cell in mine for line in cell["said"] if "auto:" in line]
            picked = [line.partition("auto: ")[2].split(",")[0] for line in said]
            rows.append([name, option, value, f"{mean(scores):.4f}"])
            rows[-1] += [f"{min(scores):.4f} to {max(scores):.4f} ({len(scores)})", f"{best:.4f}"]
            rows[-1] += [f"{mean(cell['cpu'] for cell in mine):.0f}", ", ".join(picked)]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=Path())
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["banking77", "sst2"])
    parser.add_argument("--options", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--test-rows", type=int, default=3080)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    file, folder = given.out / "cells.jsonl", given.out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    if not given.table:
        import torch

        torch.set_num_threads(given.threads)
        for seed, name, option in itertools.product(given.seeds, given.sets, given.options):
            options = words(given, name, given.rows, folder)
            options += ["--trainer.max_epochs", str(given.epochs)]
            for value, more in ARMS[option].items():
                about = {"set": name, "option": option, "value": value, "seed": seed}
                about |= {"rows": given.rows, "epochs": given.epochs}
                if any(about.items() <= cell.items() for cell in cells_of(file)):
                    continue
                used = [*options, *more]
                cell = about | measure(used, "gradual", {**about, "steps": LIMIT})
                with file.open("a", encoding="utf-8") as out:
                    out.write(json.dumps(cell) + "\n")
                print(about, round(cell["score"], 4), round(cell["cpu"]), flush=True)
    print(table(lines(cells_of(file))))


if __name__ == "__main__":
    main()
