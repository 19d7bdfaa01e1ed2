r"""How many faults planted in real data an audit finds, how sure it is, and what it costs.

    python scripts/bench/audit.py --data DATA

DATA holds the folders banking77/, ag_news/, sst2/ and goemotions/. Planted, five times with other
seeds, into BANKING77: rows of train copied into test as they are (30) and changed by typing errors,
case and punctuation, a frame of courtesy, or other words (25 each), and rows of train copied with
another label (30). Rows of its own test that are like one of train are counted apart: nobody
planted them. The Jaccard index of all pairs of AG News tells which of them MinHash misses.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import random
import re
import resource
import string
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import numpy as np

from ftlight.data import near
from ftlight.data.audit import Audit, audit
from ftlight.data.duplicates import key
from ftlight.data.findings import Rows

EXACT, CHANGED, CONFLICTS = 30, 25, 30
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
        return [row[column] for row in csv.DictReader(file)]


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


def plant(given: argparse.Namespace, seed: int) -> dict[str, float]:
    """Plants faults and audits. Returns the share that was found, by kind of fault."""
    draw, folder = random.Random(seed), given.data / "banking77"
    texts, labels = (read(folder / "train.csv", c) for c in ("text", "category"))
    tests, answers = (read(folder / "test.csv", c) for c in ("text", "category"))
    own, names = len(tests), sorted(set(labels))
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
    for row in pool[:EXACT]:
        kinds.append("as they are")
        tests.append(texts[row])
        answers.append(labels[row])
    train = len(texts)
    for row in pool[EXACT : EXACT + CONFLICTS]:
        texts.append(texts[row])
        labels.append(draw.choice([name for name in names if name != labels[row]]))
    splits = {"train": rows(texts, labels, "train.csv"), "test": rows(tests, answers, "test.csv")}
    found = audit(splits)
    flagged = found.twins["test"]
    result = {}
    for kind in ["as they are", *CHANGES]:
        mine = flagged[own:][[k == kind for k in kinds]]
        result[kind] = float(np.mean(mine >= near.CLOSE))
        result[f"{kind}, at {near.REPEATS}"] = float(np.mean(mine >= near.REPEATS))
    result["with another label"] = _conflicts(found, train + 2) / CONFLICTS
    result["own rows of test"] = float(np.sum(flagged[:own] >= near.REPEATS))
    result["own rows of test, close"] = float(np.sum(flagged[:own] >= near.CLOSE))
    return result


def _conflicts(found: Audit, first: int) -> int:
    """How many planted lines findings of other labels name."""
    lines = set()
    for finding in found.findings:
        if "conflict" in finding.kind and finding.split == "train":
            lines.update(finding.lines)
    return sum(line >= first for line in lines)


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
    given = parser.parse_args()
    print("| rows | seconds | of the CPU | GB at most |\n|---|---|---|---|")
    for count in sorted(given.rows):
        print(cost(given, count), flush=True)
    found = [plant(given, seed) for seed in range(given.seeds)]
    print("\n| planted in BANKING77 | found, mean of plantings | least |\n|---|---|---|")
    for kind in found[0]:
        values = [result[kind] for result in found]
        print(f"| {kind} | {mean(values):.3f} | {min(values):.3f} |")
    texts = read(given.data / "ag_news/train.csv", "text")
    share, pairs = missed([*texts, *read(given.data / "ag_news/test.csv", "text")])
    print(f"\nAG News: {share:.3f} of the {pairs:,} pairs with an index of {near.REPEATS} or more")


if __name__ == "__main__":
    main()
