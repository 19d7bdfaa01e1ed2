r"""Few rows of each class: zero-shot, k-shot over several draws, and SetFit on the same rows.

    python scripts/bench/fewshot.py -c configs/fewshot.yaml --out runs/fewshot --draws 5 \
        --data banking77=banking77/train.csv,banking77/test.csv,text,category \
        --data ag_news=ag_news_titled/train.csv,ag_news_titled/test.csv,text,label \
        --setfit-python setfit-venv/bin/python

A draw is `python -m ftlight fit -c CONFIG` with data.split_seed and seed set to its number, run in
this process: nothing is held out and the weights at the end are tested on the whole test file.
Seconds are wall seconds of that command in a process that has its imports (which take about 5 s)
and has read the data once: loading the model, training, the test, and writing the run. The
zero-shot row is `validate` of the same config before any training.

SetFit runs in a process of another Python (`pip install torch setfit==1.2.0 "transformers<5"`) on
the same rows with its default settings; its seconds are those of loading the model, training and
prediction. Its pairs grow with the square of the rows, so sets with more than --setfit-rows drawn
rows are left out.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

Cell = dict[str, float]
T95 = {
    2: 12.706,
    3: 4.303,
    4: 3.182,
    5: 2.776,
    6: 2.571,
    7: 2.447,
    8: 2.365,
    9: 2.306,
    10: 2.262,
}  # Student's t by draws


def words(entry: str) -> tuple[str, list[str]]:
    """Name of a data set, and the options that say where it is."""
    name, _, rest = entry.partition("=")
    train, test, text, label = rest.split(",")
    return name, [
        "--data.train",
        train,
        "--data.test",
        test,
        "--data.text",
        text,
        "--data.label",
        label,
    ]


def zero_shot(config: dict[str, Any], options: list[str]) -> Cell:
    """Accuracy on the test file before any training."""
    import ftlight
    from ftlight.tasks.text_classification.data import TextData

    given = dict(zip((o.removeprefix("--data.") for o in options[::2]), options[1::2], strict=True))
    model = {k: v for k, v in config["model"].items() if k != "task"}
    given["validation"] = given.pop("test")
    start = time.perf_counter()
    data = TextData(**given, tokenizer=model["backbone"])
    task = ftlight.TextClassification(**model, labels=data.labels)
    trainer = ftlight.Trainer(enable_progress_bar=False)
    trainer.validate(task, datamodule=data, verbose=False)
    return {
        "accuracy": float(trainer.callback_metrics["val/accuracy"]),
        "seconds": time.perf_counter() - start,
    }


def fit(config: str, options: list[str], draw: int, run: Path) -> Cell:
    """Trains on a draw and tests, as the command line does; deletes the checkpoints."""
    from ftlight.__main__ import main

    start = time.perf_counter()
    status = main(
        [
            "fit",
            "-c",
            config,
            *options,
            "--data.split_seed",
            str(draw),
            "--seed",
            str(draw),
            "--run",
            str(run),
        ]
    )
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{run}: fit ended with status {status}")
    for checkpoint in (run / "checkpoints").glob("*.ckpt"):
        checkpoint.unlink()
    return {
        "accuracy": json.loads((run / "test_metrics.json").read_text())["test/accuracy"],
        "seconds": seconds,
    }


def rows_of(config: dict[str, Any], options: list[str], draw: int) -> dict[str, Any]:
    """The rows of a draw as ftlight trains on them, and the test's."""
    from ftlight.tasks.text_classification.data import TextData

    given = dict(zip((o.removeprefix("--data.") for o in options[::2]), options[1::2], strict=True))
    data = TextData(
        **given,
        shots=config["data"]["shots"],
        split_seed=draw,
        tokenizer=config["model"]["backbone"],
    )
    return {
        split: {k: data.load_split(split)[k][:] for k in ("text", "label")}
        for split in ("train", "test")
    }


def setfit(
    python: str, config: dict[str, Any], options: list[str], draw: int, folder: Path
) -> Cell:
    """SetFit on the rows of a draw, in a process of another Python."""
    from ftlight.models import loading as backbone

    task = {
        **rows_of(config, options, draw),
        "backbone": backbone.locate(config["model"]["backbone"]),
        "seed": draw,
    }
    source, result = folder / f"setfit-{draw}.json", folder / f"setfit-{draw}-result.json"
    source.write_text(json.dumps(task))
    subprocess.run([python, __file__, "--setfit-worker", str(source), str(result)], check=True)
    source.unlink()
    found: Cell = json.loads(result.read_text())
    return found


def setfit_worker(source: str, result: str) -> None:
    """What runs under SetFit's Python: its defaults, and accuracy on the test."""
    import datasets
    from setfit import SetFitModel, Trainer, TrainingArguments  # type: ignore[import-not-found]

    task = json.loads(Path(source).read_text())
    start = time.perf_counter()
    model = SetFitModel.from_pretrained(task["backbone"])
    arguments = TrainingArguments(
        seed=task["seed"], report_to="none", save_strategy="no", output_dir=f"{result}.out"
    )
    train = datasets.Dataset.from_dict(task["train"])
    Trainer(model=model, args=arguments, train_dataset=train).train()
    found = [str(label) for label in model.predict(task["test"]["text"], batch_size=32)]
    right = mean(a == b for a, b in zip(found, task["test"]["label"], strict=True))
    Path(result).write_text(json.dumps({"accuracy": right, "seconds": time.perf_counter() - start}))


def spread(values: list[float]) -> str:
    """Standard deviation over draws."""
    return f"{stdev(values):.4f}" if len(values) > 1 else "-"


def table(cells: dict[tuple[str, str], list[Cell]]) -> str:
    """A row per data set and way, in Markdown."""
    lines = [
        "| data | way | draws | accuracy | sd | seconds (median) |",
        "|---|---|---|---|---|---|",
    ]
    for (data, way), found in cells.items():
        scores, seconds = [c["accuracy"] for c in found], median(c["seconds"] for c in found)
        lines.append(
            f"| {data} | {way} | {len(found)} | {mean(scores):.4f} | {spread(scores)} | "
            f"{seconds:.1f} |"
        )
    for data in dict.fromkeys(name for name, _ in cells):
        ours, theirs = cells.get((data, "few-shot"), []), cells.get((data, "SetFit"), [])
        gaps = [a["accuracy"] - b["accuracy"] for a, b in zip(ours, theirs, strict=False)]
        if len(gaps) > 1:
            half = T95.get(len(gaps), 2.2) * stdev(gaps) / math.sqrt(len(gaps))
            better = sum(g > 0 for g in gaps)
            lines.append(
                f"\n{data}: few-shot less SetFit {mean(gaps):+.4f} ± {half:.4f} (95 %), "
                f"better in {better} of {len(gaps)} draws"
            )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "-c",
        "--config",
        default="configs/fewshot.yaml",
        help="config of the few-shot run, with head_init and shots",
    )
    parser.add_argument(
        "--data",
        action="append",
        required=True,
        help="NAME=TRAIN,TEST,TEXT,LABEL: files and columns; can be repeated",
    )
    parser.add_argument("--draws", type=int, default=5, help="draws of rows; each is a seed too")
    parser.add_argument("--first", type=int, default=0, help="number of the first draw")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/fewshot"), help="folder of cells.jsonl and the runs"
    )
    parser.add_argument(
        "--setfit-python", default="", help="a Python with SetFit, to run it on the same rows"
    )
    parser.add_argument(
        "--setfit-rows", type=int, default=100, help="the most drawn rows that SetFit is given"
    )
    parser.add_argument(
        "options", nargs="*", help="further options of fit, behind --, such as -- --model.lr 1e-4"
    )
    return parser.parse_args()


def main() -> None:
    """Runs all cells that are not in cells.jsonl yet, and prints the table."""
    import yaml

    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    config = yaml.safe_load(Path(given.config).read_text(encoding="utf-8"))
    kept = given.out / "cells.jsonl"
    done = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    cells: dict[tuple[str, str], list[Cell]] = {}

    def cell(data: str, way: str, draw: int, make: Any) -> None:
        key = {
            "data": data,
            "way": way,
            "draw": draw,
            "options": [given.config, *given.options] if way != "SetFit" else [],
        }
        found = next((c for c in done if {k: c[k] for k in key} == key), None)
        if found is None:
            found = {**key, **make()}
            with kept.open("a") as file:
                file.write(json.dumps(found) + "\n")
        cells.setdefault((data, way), []).append(found)

    for entry in given.data:
        name, options = words(entry)
        cell(name, "zero-shot", 0, lambda options=options: zero_shot(config, options))
        for draw in range(given.first, given.first + given.draws):
            run = given.out / f"{name}-{draw}-{time.time_ns() + random.randrange(1000)}"
            ours = [*options, *given.options]
            cell(
                name,
                "few-shot",
                draw,
                lambda ours=ours, draw=draw, run=run: fit(given.config, ours, draw, run),
            )
    for entry in given.data if given.setfit_python else []:
        name, options = words(entry)
        for draw in range(given.first, given.first + given.draws):
            if len(rows_of(config, options, draw)["train"]["text"]) <= given.setfit_rows:
                there = (given.setfit_python, config, options, draw, given.out)
                cell(name, "SetFit", draw, lambda there=there: setfit(*there))
    print(table(cells))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--setfit-worker"]:
        setfit_worker(*sys.argv[2:4])
    else:
        main()
