r"""How many faults planted in real data an audit finds, how sure it is, and what it costs.

    python scripts/bench/audit.py --data DATA --full

DATA holds the folders banking77/, ag_news/, sst2/ and goemotions/. Planted, five times with other
seeds, into BANKING77: rows of train copied into test as they are (30) and changed by typing errors,
case and punctuation, a frame of courtesy, or other words (25 each), rows of train copied with
another label (30), rows with another label than their own (2 %), and news (20). Rows of its own
test that are like one of train are counted apart: nobody planted them. The Jaccard index of all
pairs of AG News tells which of them MinHash misses. --full runs the model, too.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import io
import json
import os
import random
import re
import resource
import string
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np

from ftlight.__main__ import main as main_of_ftlight
from ftlight.data import near
from ftlight.data.audit import audit
from ftlight.data.duplicates import key
from ftlight.data.findings import Rows

EXACT, CHANGED, CONFLICTS, STRANGERS = 30, 25, 30, 20
TEXT = "sentence-transformers/all-MiniLM-L6-v2"
TWINS = ("leak", "near leak", "close", "twin")
WORDS = [
    *[("how do i", "how can i"), ("can i", "am i able to"), ("my card", "the card")],
    *[("i need", "i want"), ("i want to", "i would like to"), ("why", "how come")],
    *[("what is", "what's"), ("is there", "do you have"), ("can you", "could you")],
    *[("didn't", "did not"), ("i'm", "i am"), ("hasn't", "has not"), ("get", "receive")],
    *[("transfer", "bank transfer"), ("money", "cash"), ("account", "my account")],
    *[("payment", "the payment"), ("please", "kindly"), ("i have", "i've")],
]


def read(path: Path, column: str) -> list[str]:
    """A column of a CSV file."""
    opening = gzip.open if path.suffix == ".gz" else open
    with opening(path, "rt", newline="", encoding="utf-8") as file:
        # a row a line, so that the line of a finding tells the row
        return [" ".join(row[column].split()) for row in csv.DictReader(file)]


def mistyped(text: str, draw: random.Random) -> str:
    """A text with one typing error, or two if it is long."""
    letters = list(text)
    for _ in range(2 if len(text) > 25 else 1):
        at = draw.randrange(1, len(letters) - 1)
        kind = draw.randrange(3)
        if kind == 0:
            letters[at - 1 : at + 1] = letters[at], letters[at - 1]
        elif kind == 1:
            del letters[at]
        else:
            letters.insert(at, draw.choice(string.ascii_lowercase))
    return "".join(letters)


def recased(text: str, draw: random.Random) -> str:
    """A text in other letters, with other punctuation at its end."""
    other = text.upper() if draw.random() < 0.3 else text.lower()
    return other.rstrip("?.! ") + draw.choice(["", "!!", " ?", "..."])


def framed(text: str, draw: random.Random) -> str:
    """A text with words of courtesy around it."""
    before = draw.choice(["Hi, ", "Hello! ", "Please help: ", "Quick question. "])
    return before + text[0].lower() + text[1:] + draw.choice(["", " Thanks", " Thank you."])


def reworded(text: str, draw: random.Random) -> str:
    """A text with up to two of its words replaced; as it is if none can be."""
    changed, count = text.lower(), 0
    for old, new in draw.sample(WORDS, len(WORDS)):
        if count < 2 and re.search(rf"\b{old}\b", changed):
            changed, count = re.sub(rf"\b{old}\b", new, changed, count=1), count + 1
    return changed if count else text


CHANGES: dict[str, Callable[[str, random.Random], str]] = {
    "typing errors": mistyped,
    "case, punctuation": recased,
    "a frame": framed,
    "other words": reworded,
}


def rows(texts: list[str], labels: list[str], file: str) -> Rows:
    """Rows as an audit sees them."""
    members = [[label] for label in labels]
    return Rows(range(2, len(texts) + 2), file, [texts], list(map(key, texts)), labels, members)


class Planted(NamedTuple):
    """BANKING77 with faults.

    Attributes:
        train: texts and labels.
        test: texts and labels.
        own: rows of test before those that were planted.
        kinds: what was done to each planted row of test.
        flipped: lines of train with another label than their own.
        conflicts: lines of train that repeat another with another label.
        strangers: lines of train from elsewhere.
    """

    train: tuple[list[str], list[str]]
    test: tuple[list[str], list[str]]
    own: int
    kinds: list[str]
    flipped: set[int]
    conflicts: set[int]
    strangers: set[int]


def plant(given: argparse.Namespace, seed: int) -> Planted:
    """Plants faults into BANKING77."""
    draw, folder = random.Random(seed), given.data / "banking77"
    texts, labels = (read(folder / "train.csv", c) for c in ("text", "category"))
    tests, answers = (read(folder / "test.csv", c) for c in ("text", "category"))
    own, names, count = len(tests), sorted(set(labels)), len(texts)
    pool = [i for i, text in enumerate(texts) if len(text) > 15]
    draw.shuffle(pool)
    kinds = []
    for kind, change in CHANGES.items():
        for _ in range(CHANGED):
            while (changed := change(texts[pool[-1]], draw)) == texts[pool[-1]]:
                pool.pop()  # it has no word that could be replaced
            kinds.append(kind)
            tests.append(changed)
            answers.append(labels[pool.pop()])
    for row in (pool.pop() for _ in range(EXACT)):
        kinds.append("as they are")
        tests.append(texts[row])
        answers.append(labels[row])

    def other(row: int) -> str:
        return draw.choice([name for name in names if name != labels[row]])

    flipped = [pool.pop() for _ in range(count // 50)]
    for row in (pool.pop() for _ in range(CONFLICTS)):
        texts.append(texts[row])
        labels.append(other(row))
    for row in flipped:
        labels[row] = other(row)
    for text in read(given.data / "ag_news/test.csv", "text")[:STRANGERS]:
        texts.append(text[:120])
        labels.append(draw.choice(names))
    ends = range(count + 2, count + 2 + CONFLICTS), range(count + 2 + CONFLICTS, len(texts) + 2)
    lines = {row + 2 for row in flipped}
    return Planted((texts, labels), (tests, answers), own, kinds, lines, *map(set, ends))


def fast(planted: Planted) -> dict[str, float]:
    """Shares of what was planted that the audit of the texts finds, by kind of fault."""
    splits = {"train": rows(*planted.train, "train.csv"), "test": rows(*planted.test, "test.csv")}
    found = audit(splits)
    flagged, own = found.twins["test"], planted.own
    result = {}
    for kind in ["as they are", *CHANGES]:
        mine = flagged[own:][[k == kind for k in planted.kinds]]
        result[f"{kind}: repeats"] = float(np.mean(mine >= near.REPEATS))
        result[f"{kind}: repeats or close"] = float(np.mean(mine >= near.CLOSE))
    lines = {line for f in found.findings if f.kind == "conflict" for line in f.lines}
    result["with another label"] = len(planted.conflicts & lines) / CONFLICTS
    result["own rows of test: repeats"] = float(np.sum(flagged[:own] >= near.REPEATS))
    result["own rows of test: close"] = float(np.sum(flagged[:own] >= near.CLOSE))
    return result


def full(planted: Planted) -> dict[str, float]:
    """The same of ``check --full``: wrong labels, strangers and twins by their lines."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["FTLIGHT_CACHE"] = home
        words = ["check", "--model", "TextClassification", "--model.backbone", TEXT, "--full"]
        for split, content in (("train", planted.train), ("test", planted.test)):
            path = Path(home) / f"{split}.csv"
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("text", "label"), *zip(*content, strict=True)])
            words += [f"--data.{split}", str(path)]
        out = Path(home) / "findings.jsonl"
        words += ["--data.validation_split", "0", "--out", str(out)]
        with contextlib.redirect_stdout(io.StringIO()):
            assert main_of_ftlight(words) == 0
        found = [json.loads(line) for line in out.read_text().splitlines()]
    skipped = planted.conflicts | planted.strangers  # wrong, too, and counted apart
    doubted = [line for line in _lines(found, "label", "train") if line not in skipped]
    hits = [line in planted.flipped for line in doubted]
    result = {f"labels: right among the first {n}": mean(hits[:n]) for n in (100, 200)}
    result["labels: found among the first 400"] = sum(hits[:400]) / len(planted.flipped)
    result["labels: found"] = sum(hits) / len(planted.flipped)
    result["labels: said to be wrong"] = len(doubted)
    strange = _lines(found, "stranger", "train")
    result["strangers in the first 40"] = len(planted.strangers & set(strange[:40]))
    result["strangers: said"] = len(strange)
    twins = {line for kind in TWINS for line in _lines(found, kind, "test")}
    for kind in ["as they are", *CHANGES]:
        mine = [i for i, k in enumerate(planted.kinds) if k == kind]
        result[f"{kind}: said"] = mean(planted.own + 2 + i in twins for i in mine)
    return result


def _lines(found: list[dict[str, Any]], kind: str, split: str) -> list[int]:
    """Lines of the findings of a kind."""
    such = [f["lines"] for f in found if (f["kind"], f["split"]) == (kind, split)]
    return [line for lines in such for line in lines]


def missed(texts: list[str]) -> tuple[float, int]:
    """The share of the pairs with an index of at least 0.8 that is found, and their number."""
    found = near.find([texts], least=near.REPEATS)
    found_pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    sets = [set(near.shingles(text)) for text in texts]
    order = sorted(range(len(texts)), key=lambda row: len(sets[row]))
    posting: dict[int, list[int]] = {}
    true = set()
    for row in order:  # a pair that is so alike shares one of its rarest fifth of grams
        mine = sets[row]
        counts: dict[int, int] = {}
        for gram in mine:
            for other in posting.get(gram, ()):
                counts[other] = counts.get(other, 0) + 1
        for other, shared in counts.items():
            if shared / (len(mine) + len(sets[other]) - shared) >= near.REPEATS:
                true.add((min(row, other), max(row, other)))
        for gram in mine:
            posting.setdefault(gram, []).append(row)
    return len(true & found_pairs) / max(1, len(true)), len(true)


def cost(given: argparse.Namespace, count: int) -> str:
    """Seconds and memory of the audit of so many short texts."""
    texts = read(given.data / "sst2/train.csv.gz", "text")
    texts += read(given.data / "goemotions/train.csv.gz", "text")
    draw = random.Random(0)
    while len(texts) < count:  # further ones of two halves
        one, other = draw.choice(texts).split(), draw.choice(texts).split()
        texts.append(" ".join([*one[: len(one) // 2], *other[len(other) // 2 :]]))
    texts = texts[:count]
    labels = [draw.choice("ab") for _ in texts]
    held = count // 10
    splits = {
        "train": rows(texts[held:], labels[held:], "train.csv"),
        "validation": rows(texts[:held], labels[:held], "validation.csv"),
    }
    began, cpu = time.perf_counter(), time.process_time()
    audit(splits)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return f"| {count:,} | {seconds:.1f} | {cpu:.1f} | {most:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--seeds", type=int, default=5, help="plantings")
    parser.add_argument("--rows", type=int, nargs="*", default=[1000, 100_000], help="to time")
    parser.add_argument("--full", action="store_true", help="run the model too")
    given = parser.parse_args()
    print("| rows | seconds | of the CPU | GB at most |\n|---|---|---|---|")
    for count in sorted(given.rows):
        print(cost(given, count), flush=True)
    planted = [plant(given, seed) for seed in range(given.seeds)]
    for name, measure in (("texts", fast), *([("--full", full)] if given.full else [])):
        print(f"\n| planted in BANKING77, {name} | mean of plantings | least |\n|---|---|---|")
        found = [measure(faults) for faults in planted]
        for kind in found[0]:
            values = [result[kind] for result in found]
            print(f"| {kind} | {mean(values):.3f} | {min(values):.3f} |", flush=True)
    texts = read(given.data / "ag_news/train.csv", "text")
    share, pairs = missed([*texts, *read(given.data / "ag_news/test.csv", "text")])
    print(f"\nAG News: {share:.3f} of the {pairs:,} pairs with an index of {near.REPEATS} or more")


if __name__ == "__main__":
    main()
