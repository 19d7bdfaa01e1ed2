"""Damages cached files again and again, and compares what is trained from them.

    python scripts/bench/faults caches --trials 200
    python scripts/bench/faults caches --cost --train banking77/train.csv --label category

Each task trains a tiny run first, which fills its caches: tables of rows and tokens, and the output
of its frozen layers. In a trial one of these files is damaged, by chance: a bit is flipped, 512
bytes are zeroed, it is cut off, longer, empty, or another cached file in its place. Half of the
bits and zeros are drawn from the first and last 256 bytes, where headers and checksums are. Then
``fit`` trains again from these caches, in a forked process. Counted is what becomes of the file:

    remade    its bytes are what they were, and one line says so
    refused   fit ends with one line of error and status 2
    USED      the run leaves other weights, metrics or tests than the undisturbed one, or the file
              is still damaged although the run has ended

--cost measures what the checks take instead; see cost.py.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import common
import cost

from ftlight.utils.sealed import MARK

DAMAGES = ("bit", "zeros", "cut", "longer", "empty", "swapped")
EDGE = 256  # bytes of a file's start and end


def damaged(how: str, whole: bytes, other: bytes, draw: random.Random) -> bytes:
    """A file's content after damage of one kind.

    Args:
        how: the kind.
        whole: the content.
        other: the content of another file of the kind.
        draw: random numbers.
    """
    size = len(whole)
    at = draw.randrange(size)
    if draw.random() < 0.5:
        at = draw.choice([draw.randrange(min(EDGE, size)), size - 1 - draw.randrange(EDGE) % size])
    if how == "bit":
        return whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :]
    if how == "zeros":
        return whole[:at] + bytes(len(whole[at : at + 512])) + whole[at + 512 :]
    if how == "cut":
        return whole[: max(1, at)]
    if how == "longer":
        return whole + draw.randbytes(draw.choice([1, 8, 512]))
    return b"" if how == "empty" else other


class Caches:
    """The caches of a task, and what a run leaves that trains from them.

    Args:
        home: where its files go.
        task: the task.
    """

    def __init__(self, home: Path, task: str) -> None:
        self.home, self.task = home / task, task
        self.home.mkdir()
        config = common.config(task, max_epochs=2)
        if task in ("TokenClassification", "QuestionAnswering", "Retrieval", "MaskedLM"):
            config["model"] |= {"unfreeze": "last:1"}
        if task not in ("CausalLM", "Seq2Seq"):  # which train all layers
            config["model"] |= {"cache": True}
        self.config = self.home / "config.yaml"
        self.config.write_text(json.dumps(config))
        self.whole, _ = self.fit("whole")
        self.files = {file: file.read_bytes() for file in sorted(self._cached())}
        again, _ = self.fit("again")
        if common.differences(self.whole, again):
            raise SystemExit(f"{task}: two undisturbed runs differ")

    def fit(self, name: str) -> tuple[dict[str, Any], int]:
        """Trains a run. Returns what it leaves, nothing if it failed, and its exit status."""
        folder = self.home / name
        shutil.rmtree(folder, ignore_errors=True)
        self.log = self.home / f"{name}.log"
        self.log.unlink(missing_ok=True)
        words = ["fit", "-c", str(self.config), "--run", str(folder)]
        number = common.start(
            words, self.log, self._use_tables, FTLIGHT_CACHE=str(self.home / "stores")
        )
        (code,) = common.wait_group([number]) or [1]
        if name in ("whole", "again") and code:
            raise SystemExit(f"an undisturbed run ended with {code}:\n{self.log.read_text()}")
        return common.result(folder) if code == 0 else {}, code

    def _cached(self) -> list[Path]:
        """All cached files; each must be sealed, or nobody would see its damage."""
        files = [f for name in ("stores", "tables") for f in (self.home / name).rglob("*")]
        files = [file for file in files if file.is_file()]
        for file in files:
            if not file.read_bytes().endswith(MARK):
                raise SystemExit(f"{self.task}: {file} has no digest")
        return files

    def _use_tables(self) -> None:
        """Reads tables from the caches of this task: datasets looks at its variable only once."""
        import datasets

        datasets.config.HF_DATASETS_CACHE = self.home / "tables"

    def trial(self, draw: random.Random) -> tuple[str, str]:
        """Damages a file, trains, restores all files. Returns the damage and what came of it."""
        kind = draw.choice(sorted({file.suffix for file in self.files}))  # as many stores as tables
        file = draw.choice([file for file in self.files if file.suffix == kind])
        how, whole = draw.choice(DAMAGES), self.files[file]
        others = [f for f in self.files if f.suffix == kind and f != file]
        if how == "swapped" and not others:
            how = "cut"
        other = self.files[draw.choice(others)] if others else b""
        content = whole
        while content == whole:
            content = damaged(how, whole, other, draw)
        file.write_bytes(content)
        found, code = self.fit("trial")
        outcome = self._outcome(file, found, code)
        for place, kept in self.files.items():
            if not place.exists() or place.read_bytes() != kept:
                place.write_bytes(kept)
        return f"{how}, {'store' if kind == '.bin' else 'table'}", outcome

    def _outcome(self, file: Path, found: dict[str, Any], code: int) -> str:
        said = self.log.read_text()
        if "Traceback" in said:
            return "traceback"
        if code:
            return "refused" if code == 2 and "ftlight: error:" in said else f"status {code}"
        differ = common.differences(self.whole, found)
        if differ:
            return f"USED: other {', '.join(differ)}"
        if not file.exists() or file.read_bytes() != self.files[file]:
            return "USED: still damaged"
        return "remade" if said.count(f"{file}: it") == 1 else "remade without a line"


def main() -> None:
    about = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    about.add_argument("--trials", type=int, default=200)
    about.add_argument("--seed", type=int, default=0)
    about.add_argument("--tasks", nargs="*", default=list(common.TASKS))
    about.add_argument(
        "--home", help="folder to work in; one of the system's temporary ones if not given"
    )
    cost.add_options(about)
    options = about.parse_args()
    if options.train:
        options.train = str(Path(options.train).absolute())
    home = Path(tempfile.mkdtemp(dir=options.home))
    try:
        common.prepare(home)
        if options.cost:
            cost.measure(options, home)
            harm = False
        else:
            harm = run_all(options, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    raise SystemExit(int(harm))


def run_all(options: argparse.Namespace, home: Path) -> bool:
    """Runs trials of all tasks in turn. Returns whether one came to harm."""
    draw, counts = random.Random(options.seed), Counter[tuple[str, str]]()
    made = [Caches(home, task) for task in options.tasks]
    for caches in made:
        stores = sum(file.suffix == ".bin" for file in caches.files)
        print(f"{caches.task}: {stores} stores, {len(caches.files) - stores} tables", flush=True)
    for number in range(options.trials):
        if number % 50 == 0:
            print(f"trial {number} of {options.trials}", flush=True)
        caches = made[number % len(made)]
        what, outcome = caches.trial(draw)
        counts[what, outcome] += 1
        if outcome not in ("remade", "refused"):
            print(f"trial {number}: {caches.task}, {what}: {outcome}", flush=True)
            print(caches.log.read_text()[-2000:], flush=True)
    outcomes = sorted({outcome for _, outcome in counts})
    print(f"\n{'':20}" + "".join(f"{outcome:>12}" for outcome in outcomes))
    for what in sorted({what for what, _ in counts}):
        print(f"{what:20}" + "".join(f"{counts[what, outcome]:12}" for outcome in outcomes))
    totals = {name: sum(n for (_, o), n in counts.items() if o == name) for name in outcomes}
    print(f"{options.trials} trials: " + ", ".join(f"{n} {name}" for name, n in totals.items()))
    return any(name not in ("remade", "refused") for name in outcomes)
