r"""Seconds from kept vectors to a solved head, and its test accuracy.

    python scripts/bench/solved_head.py --train banking77/train.csv --test banking77/test.csv \
        --text text --label category -- --model.head_init labels --data.validation_split 0

Runs `python -m ftlight fit --model.unfreeze head` twice, each in a process of its own. The first
keeps the output of the frozen backbone; the seconds are those that the second names: it opens the
store, reads the vectors, and solves. `--threads` limits the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SOLVED = re.compile(r"the head is solved on ([\d,]+) rows in ([\d.]+) s: (penalty [^;\n]*)")


def fit(given: argparse.Namespace, run: Path) -> tuple[str, float, str, float]:
    """Rows, seconds, how the penalty was chosen, and test accuracy of a run."""
    command = [sys.executable, "-m", "ftlight", "fit", "--model", "TextClassification"]
    command += ["--model.backbone", given.backbone, "--model.unfreeze", "head"]
    for name in ("train", "test", "text", "label"):
        command += [f"--data.{name}", getattr(given, name)]
    env = {**os.environ, "OMP_NUM_THREADS": str(given.threads), "COLUMNS": "200"}
    done = subprocess.run(
        [*command, "--run", str(run), *given.options], env=env, capture_output=True, text=True
    )
    found = SOLVED.search(done.stdout)
    if done.returncode or found is None:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    accuracy = json.loads((run / "test_metrics.json").read_text())["test/accuracy"]
    return found[1], float(found[2]), found[3], accuracy


def main() -> None:
    """Prints a row of a table in Markdown for each turn with kept vectors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("train", "test", "text", "label"):
        parser.add_argument(f"--{name}", required=True, help=f"data.{name}")
    parser.add_argument(
        "--backbone", default="sentence-transformers/all-MiniLM-L6-v2", help="hub id"
    )
    parser.add_argument("--threads", type=int, default=2, help="cores")
    parser.add_argument("--turns", type=int, default=1, help="turns after the first")
    parser.add_argument("options", nargs="*", help="further options of fit, behind --")
    given = parser.parse_args()
    print("| rows | seconds | penalty | test accuracy |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        fit(given, Path(folder) / "first")
        for turn in range(given.turns):
            rows, seconds, how, accuracy = fit(given, Path(folder) / f"turn{turn}")
            print(f"| {rows} | {seconds:.1f} | {how} | {accuracy:.4f} |", flush=True)


if __name__ == "__main__":
    main()
