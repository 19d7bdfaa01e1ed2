r"""Documents whose label only their last tenth tells: read whole in windows, or cut.

    python scripts/bench/long_texts.py --data DATA

DATA has banking77/{train,test}.csv and squad/{train,test}.json.gz. A document is paragraphs of
SQuAD, and in its last tenth messages of one of the most frequent intents of BANKING77, which is its
label. Each message is in one document only; those of the test come from the test files of both.
`python -m ftlight fit` then trains on the same documents with model.long_text: window and cut, each
in a process of its own. The first 20 documents of the test are counted apart, as a person would.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
FEW = 20


def messages(file: Path) -> list[tuple[str, str]]:
    """Texts with their intents."""
    with file.open(encoding="utf-8", newline="") as lines:
        return [(row["text"], row["category"]) for row in csv.DictReader(lines)]


def paragraphs(file: Path, draw: random.Random) -> Iterator[str]:
    """Words of SQuAD's paragraphs in random order, without an end."""
    articles = json.loads(gzip.decompress(file.read_bytes()))["data"]
    texts = [part["context"] for article in articles for part in article["paragraphs"]]
    while True:
        draw.shuffle(texts)
        for text in texts:
            yield from text.split()


def documents(
    said: list[tuple[str, str]], filler: Iterator[str], words: int, draw: random.Random
) -> list[dict[str, str]]:
    """Documents of so many words; the last tenth is of messages of one intent."""
    by_intent: dict[str, list[str]] = {}
    for text, intent in draw.sample(said, len(said)):
        by_intent.setdefault(intent, []).append(text)
    rows = []
    for intent, texts in by_intent.items():
        while texts:
            end: list[str] = []
            while texts and len(end) < words // 10:
                end += texts.pop().split()
            end = end[: words // 10]
            if len(end) == words // 10:
                before = [next(filler) for _ in range(words - len(end))]
                rows.append({"text": " ".join([*before, *end]), "label": intent})
    draw.shuffle(rows)
    return rows


def write(given: argparse.Namespace, home: Path) -> None:
    """Writes train.csv and test.csv."""
    draw = random.Random(given.seed)
    intents = Counter(intent for _, intent in messages(given.data / "banking77" / "train.csv"))
    kept = {intent for intent, _ in intents.most_common(given.intents)}
    for split in ("train", "test"):
        said = [m for m in messages(given.data / "banking77" / f"{split}.csv") if m[1] in kept]
        filler = paragraphs(given.data / "squad" / f"{split}.json.gz", draw)
        rows = documents(said, filler, given.words, draw)[: getattr(given, split)]
        with (home / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            out = csv.DictWriter(file, ["text", "label"])
            out.writeheader()
            out.writerows(rows)
        print(f"{split}: {len(rows):,} documents of {given.words} words", flush=True)


def fit(given: argparse.Namespace, home: Path, how: str) -> str:
    """A row of the table: scores of a run that reads documents in one of the two ways."""
    command = [sys.executable, "-m", "ftlight", "fit", "--model", "TextClassification"]
    command += ["--model.backbone", given.backbone, "--model.long_text", how]
    command += ["--model.unfreeze", given.unfreeze, "--data.max_length", str(given.max_length)]
    command += ["--data.train", str(home / "train.csv"), "--data.test", str(home / "test.csv")]
    command += ["--run", str(home / how), *given.options]
    env = {**os.environ, "OMP_NUM_THREADS": str(given.threads), "COLUMNS": "200"}
    begun = time.monotonic()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    seconds = time.monotonic() - begun
    metrics = json.loads((home / how / "test_metrics.json").read_text(encoding="utf-8"))
    low, high = metrics["test/accuracy_low"], metrics["test/accuracy_high"]
    with (home / how / "test_predictions.csv").open(encoding="utf-8", newline="") as file:
        first = [row["prediction"] == row["label"] for row in csv.DictReader(file)][:FEW]
    score = f"{metrics['test/accuracy']:.3f} ({low:.3f} to {high:.3f})"
    return f"| {how} | {sum(first)} of {len(first)} | {score} | {seconds:.0f} |"


def main() -> None:
    """Prints a table in Markdown."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data")
    parser.add_argument("--backbone", default=MINILM, help="hub id or folder")
    parser.add_argument("--intents", type=int, default=8, help="labels")
    parser.add_argument("--words", type=int, default=300, help="words of a document")
    parser.add_argument("--train", type=int, default=400, help="documents to train on, at most")
    parser.add_argument("--test", type=int, default=160, help="documents to test on, at most")
    parser.add_argument("--max_length", type=int, default=128, help="tokens of a window")
    parser.add_argument("--unfreeze", default="head", help="model.unfreeze")
    parser.add_argument("--threads", type=int, default=1, help="cores")
    parser.add_argument("--seed", type=int, default=0, help="draws the documents")
    parser.add_argument("options", nargs="*", help="further options of fit, behind --")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(given, Path(folder))
        print(f"| long_text | right of {FEW} | test accuracy | seconds |\n|---|---|---|---|")
        for how in ("window", "cut"):
            print(fit(given, Path(folder), how), flush=True)


if __name__ == "__main__":
    main()
