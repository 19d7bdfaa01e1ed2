r"""Regularisers side by side on few rows: which pay, at strengths chosen without the test.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/regularisers.py --data DATA \
        --out runs/regularisers --seeds 0 1 2

DATA holds the folders banking77/ and sst2/. A cell is `fit` with the defaults but for --rows,
--steps and no early stopping, then a score of the checkpoint that validation chose. Two parts:

1. `choose`: every regulariser at every strength, with the seeds --choose. The score is that of
   --dev-rows other rows of train, which nothing else sees.
2. `test`: each regulariser at the strength of the highest mean score in part 1, and `plain`, with
   --seeds. The score is that of the test.

`wise auto` has no strength: it is `test --wise auto` of the runs of `plain`, and takes their time
and that of its validations. Cells of a set and seed go in turn in one process that has its
imports; who begins moves on with the seed. Seconds are those of `fit`. A finished cell is a line
of OUT/cells.jsonl and is not run again. Two starts may work side by side, each on its own --sets,
with --threads 1 and its own --out. --table prints what is there and runs nothing.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from schedules import SETS, Cell, call, cells_of, measure, sample, words

PLAIN, WISE = "plain", "wise auto"


def average(decay: float) -> str:
    """The words of Lightning's moving average of the weights."""
    name = "lightning.pytorch.callbacks.EMAWeightAveraging"
    made = [{"class_path": name, "init_args": {"decay": decay}}]
    return f"--trainer.callbacks {json.dumps(made, separators=(',', ':'))}"


# Regulariser to its strengths, each with words of fit. The backbone's own dropout is 0.1, the
# default of weight decay 0.01.
ARMS: dict[str, dict[str, str]] = {
    PLAIN: {"": ""},
    "label smoothing": {"0.1": "--model.label_smoothing 0.1"},
    "dropout": {p: f"--model.dropout {p}" for p in ("0", "0.2", "0.3")},
    "mixup": {a: f"--model.mixup {a}" for a in ("0.2", "1")},
    "R-Drop": {w: f"--model.r_drop {w}" for w in ("1", "4")},
    "L2-SP": {s: f"--model.l2_sp {s}" for s in ("10", "100")},
    "weight decay": {d: f"--model.weight_decay {d}" for d in ("0.1", "1")},
    "moving average": {str(d): average(d) for d in (0.98, 0.995)},
}


def development(given: argparse.Namespace, name: str, folder: Path) -> Path:
    """Rows of train after those that train, in the same order."""
    about = SETS[name]
    target = folder / f"{name}-development-{given.rows}-{given.dev_rows}.csv"
    count = given.rows + given.dev_rows
    sample(given.data / about.train, count, 0, target, about.columns[1])
    with target.open(newline="", encoding="utf-8") as file:
        head, *lines = csv.reader(file)
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *lines[given.rows :]])
    return target


def chosen(cells: Sequence[Cell], name: str, arm: str) -> str:
    """The strength of the highest mean score on rows that are not the test's; the first of equals.

    Raises:
        SystemExit: a strength was not measured yet.
    """
    scores: dict[str, list[float]] = {strength: [] for strength in ARMS[arm]}
    for cell in cells:
        if (cell["part"], cell["set"], cell["arm"]) == ("choose", name, arm):
            scores[cell["strength"]].append(cell["score"])
    if len(scores) > 1 and not all(scores.values()):
        raise SystemExit(f"{name}, {arm}: --choose has not been run")
    return max(scores, key=lambda strength: mean(scores[strength] or [0.0]))


def wise_of(name: str, run: Path) -> Cell:
    """The score of weights between the pre-trained and the fine-tuned ones, and its seconds."""
    began, cpu = time.perf_counter(), time.process_time()
    call("test", str(run), "--wise", "auto")
    (file,) = run.glob("test-*_metrics.json")
    found: Cell = json.loads(file.read_text())
    spent = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    score = found[f"test/{SETS[name].metric}"]
    return {"mixed": {"score": score, "share": found["wise"]["share"], **spent}}


def run_cells(given: argparse.Namespace, part: str, name: str, seed: int) -> None:
    """Runs the cells of a set and seed that are not in the file yet."""
    file, folder = given.out / "cells.jsonl", given.out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    options = words(given, name, given.rows, folder)
    if part == "choose":
        options += ["--data.test", str(development(given, name, folder))]
    arms = list(ARMS)
    for arm in [*arms[seed % len(arms) :], *arms[: seed % len(arms)]]:
        if arm not in given.only:
            continue
        strengths = list(ARMS[arm]) if part == "choose" else [chosen(cells_of(file), name, arm)]
        for strength in strengths:
            about = {"part": part, "set": name, "arm": arm, "strength": strength, "seed": seed}
            about |= {"rows": given.rows, "steps": given.steps, "unfreeze": given.unfreeze}
            if any(about.items() <= cell.items() for cell in cells_of(file)):
                continue
            more = functools.partial(wise_of, name) if (part, arm) == ("test", PLAIN) else None
            used = [*options, *ARMS[arm][strength].split(" ", 1)] if strength else options
            found = about | measure(used, given.unfreeze, about, more)
            made = [found]
            if mixed := found.pop("mixed", None):
                spent = {key: found[key] + mixed[key] for key in ("seconds", "cpu")}
                made.append({**found, **mixed, **spent, "arm": WISE})
            with file.open("a", encoding="utf-8") as out:
                out.writelines(json.dumps(cell) + "\n" for cell in made)
            for cell in made:
                what = "{part}: {set}, {arm} {strength}, seed {seed}".format(**cell)
                print(f"{what}: {cell['score']:.4f} in {cell['seconds']:.0f} s", flush=True)


def table(cells: Sequence[Cell]) -> str:
    """Mean test scores in points, paired differences to `plain` and their range, time."""
    tested = [cell for cell in cells if cell["part"] == "test"]
    sets = list(dict.fromkeys(cell["set"] for cell in tested))
    lines = [
        "| regulariser | " + " | ".join(f"{name} | less `plain` | time" for name in sets) + " |"
    ]
    lines += ["|---" * (1 + 3 * len(sets)) + "|"]
    for arm in [*ARMS, WISE]:
        row: list[str] = [arm]
        for name in sets:
            mine, plain = (
                {c["seed"]: c for c in tested if (c["set"], c["arm"]) == (name, a)}
                for a in (arm, PLAIN)
            )
            row += _columns(mine, plain)
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def _columns(mine: dict[int, Cell], plain: dict[int, Cell]) -> list[str]:
    both = sorted(mine.keys() & plain.keys())
    if not both:
        return ["", "", ""]
    strength = mine[both[0]]["strength"]
    gains = [100 * (mine[seed]["score"] - plain[seed]["score"]) for seed in both]
    ratio = sum(mine[s]["cpu"] for s in both) / sum(plain[s]["cpu"] for s in both)
    score = f"{100 * mean(mine[s]['score'] for s in both):.1f}"
    return [
        f"{score} (at {strength})" if strength else score,
        f"{mean(gains):+.2f} ({min(gains):+.2f} to {max(gains):+.2f})",
        f"{ratio:.2f} ×",
    ]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("."), help="folder of the data sets")
    parser.add_argument("--models", type=Path, default=Path("."), help="not used by texts")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/regularisers"), help="of cells.jsonl"
    )
    parser.add_argument("--sets", nargs="+", default=["banking77", "sst2"], help="data sets")
    parser.add_argument("--only", nargs="+", default=list(ARMS), help="regularisers")
    parser.add_argument("--choose", type=int, nargs="*", default=[10, 11], help="seeds of part 1")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="seeds of part 2")
    parser.add_argument("--unfreeze", default="all", help="schedule")
    parser.add_argument("--rows", type=int, default=1000, help="of training")
    parser.add_argument("--dev-rows", type=int, default=2000, help="that choose strengths")
    parser.add_argument("--test-rows", type=int, default=3080, help="at most")
    parser.add_argument("--steps", type=int, default=300, help="of a run")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    return parser.parse_args()


def main() -> None:
    given = parse()
    if not given.table:
        import torch

        torch.set_num_threads(given.threads)
        parts: list[tuple[str, Any]] = [("choose", given.choose), ("test", given.seeds)]
        for part, seeds in parts:
            for seed in seeds:
                for name in given.sets:
                    run_cells(given, part, name, seed)
    cells = [c for c in cells_of(given.out / "cells.jsonl") if c["unfreeze"] == given.unfreeze]
    print("\n" + table(cells))


if __name__ == "__main__":
    main()
