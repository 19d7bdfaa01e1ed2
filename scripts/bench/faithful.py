r"""Do explanations name what decides? Removal of the words or parts that weigh most, beside random.

    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 python scripts/bench/faithful.py \
        runs/banking77=test.csv runs/trashnet=test.zip --rows 50 --words 8 30 --method occlusion ig

Each argument is a run, and a file with rows to explain. Rows are drawn by --seed; of texts those
of --words. For each row and method: what the score loses without the fifth that weighs most, and
without as many at random (the mean of five draws); of integrated gradients also how far the shares
are from adding up. Passes are calls of the model, and rows those in them; seconds are those of the
processor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch

import ftlight
from ftlight.explain import gradients
from ftlight.explain.explanation import Check
from ftlight.explain.rows import Masking, explain
from ftlight.explain.units import units
from ftlight.utils.format import table


class Counted:
    """Counts the calls of a task's support, and the rows in them."""

    def __init__(self, task: Any) -> None:
        self.calls = self.rows = 0
        self.given = task.support
        task.support = self

    def __call__(self, batch: dict[str, Any], asked: Sequence[Any]) -> Any:
        """The support, counted."""
        self.calls += 1
        self.rows += len(asked)
        return self.given(batch, asked)


def chosen(predictor: ftlight.Predictor, file: str, given: argparse.Namespace) -> list[Any]:
    """The rows to explain."""
    rows = predictor.read(file)
    least, most = given.words
    fit = []
    for row in rows:
        count = len(units(predictor.data.texts_of(row), {})[0])
        if not count or least <= count <= most:
            fit.append(row)
    order = np.random.default_rng(given.seed).permutation(len(fit))
    return [fit[i] for i in order]


def measure(name: str, file: str, method: Any, given: argparse.Namespace) -> list[str]:
    """A line of the table."""
    predictor = ftlight.load(name)
    counted = Counted(predictor.task)
    checks: list[Check] = []
    gaps: list[float] = []
    began, calls, parts = time.process_time(), 0, 0
    for row in chosen(predictor, file, given):
        before = counted.calls
        (found,) = explain(predictor, [row], file, method)
        known = [why.check for why in found.why if why.check is not None]
        if not known:
            continue
        calls += counted.calls - before
        checks += known
        parts += len(known)
        if method == "ig":
            asked = predictor.task.asked(found.answer)[0]
            words = Masking(predictor, row, predictor.data.texts_of(row), asked).words
            gaps.append(gradients.fine(predictor, row, asked, words)[0].gap)
        if parts >= given.rows:
            break
    spent = time.process_time() - began
    falls = [check.fall for check in checks]
    chance = [check.by_chance for check in checks]
    better = sum(check.holds for check in checks)
    return [
        f"{Path(name).name}, {method}",
        f"{parts}",
        f"{mean(falls):.3f}",
        f"{mean(chance):.3f}",
        f"{mean(falls) - mean(chance):+.3f}",
        f"{better} ({better / parts:.0%})",
        f"{median(gaps):.3%}, most {max(gaps):.1%}" if gaps else "",
        f"{calls / parts:.1f}",
        f"{spent / parts:.2f}",
    ]


HEAD = (
    "run, method",
    "answers",
    "fall",
    "at random",
    "more",
    "better than random",
    "gap",
    "passes",
    "s",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", help="RUN=FILE")
    parser.add_argument("--rows", type=int, default=50, help="answers to explain")
    parser.add_argument("--words", type=int, nargs=2, default=[8, 30], help="of a row, from and to")
    parser.add_argument("--method", nargs="+", default=["occlusion"], help="occlusion, ig")
    parser.add_argument("--seed", type=int, default=0, help="of the rows")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = [list(HEAD)]
    for pair in given.runs:
        name, _, file = pair.partition("=")
        lines += [measure(name, file, method, given) for method in given.method]
    print(table(lines))


if __name__ == "__main__":
    main()
