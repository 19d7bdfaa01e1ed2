"""What the checks of cached files take: of an epoch, and of opening a table.

    python scripts/bench/faults caches --cost --train banking77/train.csv --label category

Epochs: --unfreeze (head, last:1) of --backbone train from stored activations, each in a forked
process, in turns with the checks and without them (only the notes of a file are read then); who
begins moves on. An epoch's seconds run from its first hook to its last, validation and, in the
first, the opening of the store included. Given are medians, the median ratio of the first epochs of
a turn, and the seconds that the checks took themselves, tables and stores, over the next epoch's
seconds: that is steadier on a machine with other work.

Tables: one of --rows rows of short text is opened in turns with the check and without, with its
pages in memory and without them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any


def add_options(about: argparse.ArgumentParser) -> None:
    """Adds the options of a measurement."""
    about.add_argument("--cost", action="store_true", help="measure what the checks take")
    about.add_argument("--train", help="training data, for --cost")
    about.add_argument("--text", default="text", help="its column of texts")
    about.add_argument("--label", default="label", help="its column of labels")
    about.add_argument("--backbone", default="sentence-transformers/all-MiniLM-L6-v2")
    about.add_argument("--unfreeze", nargs="*", default=["head", "last:1"])
    about.add_argument("--turns", type=int, default=5)
    about.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    about.add_argument("--rows", type=int, default=1_000_000, help="of the table")


def unchecked(path: Path, key: str) -> tuple[int, Any]:
    """Notes of a sealed file, unseen whether it is whole."""
    from ftlight.utils import sealed

    with path.open("rb") as file:
        size = file.seek(-sealed.END.size, os.SEEK_END)
        length = sealed.END.unpack(file.read())[0]
        file.seek(size - length)
        return size - length, json.loads(file.read(length))["notes"]


def train(options: argparse.Namespace, home: Path, unfreeze: str, check: bool) -> dict[str, Any]:
    """Trains two epochs in a forked process. Returns their seconds and those of the checks."""
    file = home / "measured.json"
    file.unlink(missing_ok=True)
    number = os.fork()
    if not number:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            file.write_text(json.dumps(_train(options, home, unfreeze, check)))
        finally:
            os._exit(0)
    os.waitpid(number, 0)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _train(options: argparse.Namespace, home: Path, unfreeze: str, check: bool) -> dict[str, Any]:
    import lightning as L
    import torch

    import ftlight
    from ftlight.data import tables
    from ftlight.freezing import store

    torch.set_num_threads(options.threads)
    spent, function = [0.0], tables.unseal if check else unchecked

    def timed(path: Path, key: str) -> tuple[int, Any]:
        begun = time.perf_counter()
        try:
            return function(path, key)
        finally:
            spent[0] += time.perf_counter() - begun

    tables.unseal = store.unseal = timed
    marks: list[float] = []

    class Epochs(L.Callback):
        def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
            marks.append(time.perf_counter())

        def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
            marks.append(time.perf_counter())

    data = ftlight.TextData(
        options.train, text=options.text, label=options.label, tokenizer=options.backbone
    )
    task = ftlight.TextClassification(
        options.backbone, labels=data.labels, unfreeze=unfreeze, cache=True
    )
    trainer = ftlight.Trainer(
        run=str(home / f"run-{time.time_ns()}"),
        max_epochs=2,
        test=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        callbacks=[Epochs()],
    )
    trainer.fit(task, datamodule=data)
    size = sum(file.stat().st_size for file in Path(os.environ["FTLIGHT_CACHE"]).glob("*.bin"))
    seconds = [end - start for start, end in zip(marks[::2], marks[1::2], strict=True)]
    return {"epochs": seconds, "checks": spent[0], "bytes": size}


def epochs(options: argparse.Namespace, home: Path) -> None:
    """Prints the seconds of epochs with and without the checks."""
    head = ("MB", "epoch s", "checked s", "ratio", "check ms", "share")
    print(f"\n{'':10}" + "".join(f"{name:>11}" for name in head))
    for unfreeze in options.unfreeze:
        os.environ["FTLIGHT_CACHE"] = str(home / unfreeze.replace(":", ""))
        train(options, home, unfreeze, True)  # fills the cache
        pairs: list[dict[bool, dict[str, Any]]] = []
        for turn in range(options.turns):
            order = (True, False) if turn % 2 else (False, True)
            pairs.append({check: train(options, home, unfreeze, check) for check in order})
        seconds = {check: median(p[check]["epochs"][0] for p in pairs) for check in (False, True)}
        ratio = median(p[True]["epochs"][0] / p[False]["epochs"][0] for p in pairs)
        extra = median(p[True]["checks"] - p[False]["checks"] for p in pairs)
        share = extra / median(p[True]["epochs"][1] for p in pairs)
        print(
            f"{unfreeze:10}{pairs[0][True]['bytes'] / 1e6:11.1f}{seconds[False]:11.3f}"
            f"{seconds[True]:11.3f}{ratio:11.4f}{extra * 1000:11.2f}{share:11.3%}",
            flush=True,
        )


def opening(options: argparse.Namespace) -> None:
    """Prints the seconds of opening a table with and without the check."""
    from ftlight.data import tables

    draw = random.Random(0)
    words = [f"{draw.randrange(10**6)}" for _ in range(5000)]

    def rows() -> Any:
        for _ in range(0, options.rows, 1000):
            texts = [" ".join(draw.choices(words, k=12)) for _ in range(1000)]
            yield {"text": texts, "label": ["a"] * 1000}

    check = tables.unseal
    begun = time.perf_counter()
    table = tables.cached_table("cost", rows)
    made = time.perf_counter() - begun
    file = Path(table.cache_files[0]["filename"])
    size = file.stat().st_size / 1e6
    print(f"\na table of {len(table):,} rows, {size:.1f} MB, made in {made:.1f} s")
    del table  # pages that are mapped would stay in memory
    print(f"{'opened':24}{'unchecked ms':>14}{'checked ms':>14}{'MB/s':>10}")
    for cold in (False, True):
        spent: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(options.turns):
            for on in (True, False) if turn % 2 else (False, True):
                tables.unseal = check if on else unchecked
                if cold:
                    _drop(file)
                spent[on].append(_timed(lambda: tables.cached_table("cost", list)))
        without, with_ = median(spent[False]), median(spent[True])
        name = "from the disk" if cold else "in memory"
        rate = size / (with_ - without)
        print(f"{name:24}{without * 1000:14.2f}{with_ * 1000:14.2f}{rate:10.0f}")
    tables.unseal = check


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _drop(file: Path) -> None:
    """Makes the system forget a file's pages."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(options: argparse.Namespace, home: Path) -> None:
    """Prints both measurements."""
    if options.train:  # first: a process is forked for each, while this one has no threads
        epochs(options, home)
    opening(options)
