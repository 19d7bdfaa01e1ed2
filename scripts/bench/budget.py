r"""Does a run with a time limit end in time, cooled, and how good is it?

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/budget.py --train banking77/train.csv \
        --test banking77/test.csv --text text --label category --budgets 2m,4m,8m

Runs `python -m ftlight fit --budget T`, each in a process of its own, one after the other. Seconds
are those of the whole command, from its start to its exit, with the test. The last rate is that of
the top layer at the last step, as a share of its peak; "lowered" counts how often the plan was.
Options behind -- are further options of fit.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ftlight.run.budget import seconds_of

MONITOR = '[{"class_path": "LearningRateMonitor", "init_args": {"logging_interval": "step"}}]'


def rates(run: Path) -> list[float]:
    """The learning rate of the head at each logged step of a run."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if "lr-" in row["name"]]
    return [float(row["value"]) for row in rows if row["name"].endswith("/head")]


def fit(given: argparse.Namespace, budget: str, run: Path) -> str:
    """A row of the table: a run with a budget."""
    command = [sys.executable, "-m", "ftlight", "fit", "--model", "TextClassification"]
    command += ["--model.backbone", given.backbone, "--budget", budget, "--run", str(run)]
    for name in ("train", "test", "text", "label"):
        command += [f"--data.{name}", getattr(given, name)]
    logged = ["--trainer.callbacks", MONITOR, "--trainer.log_every_n_steps", "1"]
    begun = time.monotonic()
    done = subprocess.run([*command, *logged, *given.options], capture_output=True, text=True)
    passed = time.monotonic() - begun
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    facts = json.loads((run / "run.json").read_text())
    scores = json.loads((run / "test_metrics.json").read_text())
    share, seen = passed / (seconds_of(budget) or 1), rates(run)
    planned = [total for _, total in facts["planned"]]
    return (
        f"| {budget} | {passed:.0f} ({share:.0%}) | {facts['steps']:,} | {planned[0]:,} |"
        f" {len(planned) - 1} | {seen[-1] / max(seen):.2%} | {scores['test/accuracy']:.4f} |"
    )


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("train", "test", "text", "label"):
        parser.add_argument(f"--{name}", required=True, help=f"data.{name}")
    parser.add_argument(
        "--backbone", default="sentence-transformers/all-MiniLM-L6-v2", help="hub id or folder"
    )
    parser.add_argument("--budgets", default="2m,4m,8m", help="times, with commas between them")
    parser.add_argument("options", nargs="*", help="further options of fit, behind --")
    given = parser.parse_args()
    print("| budget | seconds | steps | planned at first | lowered | last rate | test accuracy |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for budget in given.budgets.split(","):
            print(fit(given, budget, Path(folder) / budget), flush=True)


if __name__ == "__main__":
    main()
