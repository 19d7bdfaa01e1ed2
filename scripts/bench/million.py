"""Cost of a large data set before its first step: seconds of each phase and peak memory.

For each number of rows a CSV is made on the spot, seeded: 8 to 16 words a text, drawn by Zipf's law
from 20,000 made-up words of 2 to 4 syllables, and one of 20 labels. Two processes then start a
training on it one after the other, the first with an empty cache, the second with what it left: a
BERT of 2 layers and width 32 made on the spot, with the tokenizer of BACKBONE (real word pieces), a
tenth held out for validation. Measured in each, in seconds:

- read: ``data.load_split("train")``: the file's digest, rows, checks of texts and labels, the share
  held out.
- encode: ``data.setup("fit")`` after that: labels, tokenization, rows that stand twice.
- step: ``trainer.fit`` from its start to the end of the first training step.
- process: the whole process, with imports (which read, encode and step leave out).
- cpu: seconds that its cores computed, all threads together: what process would be near on a free
  machine with one core.
- peak: the largest resident memory of the process, in GiB, with pages of files that it has mapped.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROWS = (1_000, 10_000, 100_000, 1_000_000)
PHASES = ("read", "encode", "step", "process", "cpu", "peak")


def make_rows(path: Path, rows: int) -> None:
    """Writes the CSV."""
    rng = np.random.default_rng(0)
    syllables = [
        a + b
        for a in "bdfgklmnprstvz"
        for b in ("a", "e", "i", "o", "u", "ar", "en", "is", "on", "er")
    ]
    words = np.array(["".join(rng.choice(syllables, rng.integers(2, 5))) for _ in range(20_000)])
    chance = 1 / np.arange(1, len(words) + 1)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for start in range(0, rows, 10_000):
            count = min(10_000, rows - start)
            ends = np.cumsum(rng.integers(8, 17, count))
            drawn = np.split(rng.choice(words, ends[-1], p=chance / chance.sum()), ends[:-1])
            writer.writerows(
                (" ".join(text), f"label {n}")
                for text, n in zip(drawn, rng.integers(0, 20, count), strict=True)
            )


def make_model(backbone: str, folder: Path) -> None:
    """Writes a tiny BERT with the tokenizer of a backbone."""
    import transformers

    from ftlight.models.loading import load_tokenizer

    tokenizer = load_tokenizer(backbone)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    transformers.BertModel(
        transformers.BertConfig(vocab_size=len(tokenizer), **sizes)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def start(folder: Path) -> dict[str, float]:
    """Starts a training in this process."""
    import lightning as L

    import ftlight

    class Stop(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *rest: Any) -> None:
            times.append(time.perf_counter())
            trainer.should_stop = True

    times = [time.perf_counter()]
    data = ftlight.TextData(str(folder / "rows.csv"), tokenizer=str(folder / "model"))
    data.load_split("train")
    times.append(time.perf_counter())
    data.setup("fit")
    times.append(time.perf_counter())
    task = ftlight.TextClassification(str(folder / "model"), pooling="mean", labels=data.labels)
    with tempfile.TemporaryDirectory() as run:
        only = {
            "max_steps": 1,
            "test": False,
            "enable_checkpointing": False,
            "limit_val_batches": 1,
            "accelerator": "cpu",
        }
        ftlight.Trainer(run=f"{run}/run", callbacks=[Stop()], **only).fit(task, datamodule=data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**30 if sys.platform == "darwin" else 2**20
    )
    return {
        **dict(zip(PHASES, np.diff(times[:4]).tolist(), strict=False)),
        "cpu": time.process_time(),
        "peak": peak,
    }


def measure(folder: Path) -> dict[str, float]:
    """Starts a training in a process of its own."""
    begun = time.perf_counter()
    environment = {**os.environ, "HF_DATASETS_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, __file__, "--folder", str(folder)],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return {**json.loads(done.stdout.splitlines()[-1]), "process": time.perf_counter() - begun}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--backbone",
        default="sentence-transformers/all-MiniLM-L6-v2",
        help="hub id or folder, for its tokenizer",
    )
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        default=ROWS,
        help="rows of each data set (1,000 to a million)",
    )
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        print("\n" + json.dumps(start(Path(options.folder))))
        return
    print(
        f"cpu, {os.cpu_count()} cores, fp32 or bf16 as the device has it; "
        f"torch {version('torch')}, datasets {version('datasets')}"
    )
    print(
        f"{'rows':>9}  {'cache':8}"
        + "".join(f"{p + (', GiB' if p == 'peak' else ', s'):>12}" for p in PHASES),
        flush=True,
    )
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as name:
            make_rows(Path(name) / "rows.csv", rows)
            make_model(options.backbone, Path(name) / "model")
            for cache in ("empty", "filled"):
                made = measure(Path(name))
                print(
                    f"{rows:9,}  {cache:8}" + "".join(f"{made[p]:12.2f}" for p in PHASES),
                    flush=True,
                )


if __name__ == "__main__":
    main()
