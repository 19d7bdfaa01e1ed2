"""A label that a run has not seen: what `fit --from RUN` keeps of the others.

    OMP_NUM_THREADS=1 python scripts/bench/new_label.py --label refund_status --seeds 0 1 2

Trains the quickstart's model on the customer messages of all intents but one, then on all of them:
from that run, and from the pre-trained model, for as many epochs (--epochs). The last line is what
not to do: from that run, on messages of the new intent and one other alone. Accuracy on the test
messages of the old intents (before and after) and of the new one.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).parents[2]
Row = list[str]


def rows_of(name: str) -> list[Row]:
    """Text and intent of the messages of a split."""
    with (ROOT / "configs" / "support" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def write(path: Path, rows: list[Row], keep: Callable[[str], bool]) -> str:
    """Writes the rows whose intent is to be kept."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["message", "intent"], *(row for row in rows if keep(row[1]))])
    return str(path)


def call(*words: str) -> None:
    """Runs a command in this process.

    Raises:
        RuntimeError: it failed.
    """
    from ftlight.__main__ import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(list(words))
    if status:
        raise RuntimeError(said.getvalue()[-2000:])


def accuracy(run: str, rows: list[Row], keep: Callable[[str], bool]) -> float:
    """Share of the messages with a kept intent that a run labels rightly."""
    import ftlight

    asked = [row for row in rows if keep(row[1])]
    answers = ftlight.load(run).predict([text for text, _ in asked])
    right = [a["prediction"] == label for a, (_, label) in zip(answers, asked, strict=True)]
    return mean(right)


def measure(label: str, seed: int, epochs: int) -> dict[str, tuple[float, float]]:
    """Accuracy on old intents and on the new one, by what was trained."""
    train, test = rows_of("train.csv"), rows_of("test.csv")
    beside = next(intent for _, intent in train if intent != label)
    found: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as home, contextlib.chdir(home):
        os.environ["FTLIGHT_CACHE"] = f"{home}/cache"
        folder = Path(home)
        files = {
            "old": write(folder / "old.csv", train, lambda intent: intent != label),
            "all": write(folder / "all.csv", train, lambda intent: True),
            "new": write(folder / "new.csv", train, lambda intent: intent in (label, beside)),
        }
        base = ["fit", "-c", str(ROOT / "configs" / "quickstart.yaml"), "--seed", str(seed)]
        base += ["--data.test", "null"]
        base += ["--data.validation", "null", "--data.check", "off", "--trainer.patience", "0"]
        short = ["--trainer.max_epochs", str(epochs)]
        cells = {
            "before": ("old", []),
            "from the run": ("all", ["--from", "before", *short]),
            "from the pre-trained model": ("all", short),
            "from the run, two intents alone": ("new", ["--from", "before", *short]),
        }
        for name, (rows, more) in cells.items():
            run = name.replace(" ", "_").replace(",", "")
            call(*base, "--data.train", files[rows], "--run", run, *more)
            old = accuracy(run, test, lambda intent: intent != label)
            new = accuracy(run, test, lambda intent: intent == label) if more else 0.0
            found[name] = old, new
    return found


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--label", default="refund_status", help="intent that is new")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the runs")
    parser.add_argument("--epochs", type=int, default=1, help="of the runs with the new intent")
    options = parser.parse_args()
    found = [measure(options.label, seed, options.epochs) for seed in options.seeds]
    print("| trained | accuracy on old intents | on the new one |")
    print("|---|---|---|")
    for name in found[0]:
        cells = [[f"{run[name][i]:.3f}" for run in found] for i in range(2)]
        print(f"| {name} | {', '.join(cells[0])} | {', '.join(cells[1])} |")


if __name__ == "__main__":
    main()
