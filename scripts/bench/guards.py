"""What guarding a run costs at its start: trust, secrets, clean text and bounds of files.

Each process runs ``fit`` on a CSV file until its first step, and prints the milliseconds that it
spent in these modules: the imports of each (what they import themselves is needed anyway), and
their functions, those that they call included. Only the outermost of their calls counts.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from startup import BACKBONE, environment, made

GUARDS = (
    "ftlight.utils.secret_forms",
    "ftlight.utils.secrets",
    "ftlight.utils.printable",
    "ftlight.utils.bounded",
    "ftlight.utils.archives",
    "ftlight.run.trust",
    "ftlight.cli.trusting",
)
spent: dict[str, float] = {}
inside = False  # whether a function of a guard runs


def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose milliseconds are added up unless another guard called it."""

    @functools.wraps(call)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        global inside
        if inside:
            return call(*args, **kwargs)
        inside, began = True, time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            inside = False
            spent[name] = spent.get(name, 0) + (time.perf_counter() - began) * 1000

    return wrapper


def end(*args: Any) -> None:
    """Says what the guards took, and ends the process."""
    for name, milliseconds in spent.items():
        print("GUARD", name, milliseconds)
    sys.stdout.flush()
    os._exit(0)


def one(train: str, backbone: str) -> None:
    """Imports and watches the guards, then trains for a step, which ends the process."""
    from ftlight.__main__ import main
    from ftlight.task import Task

    for name in GUARDS:
        module = importlib.import_module(name)
        assert module.__spec__ is not None
        assert module.__spec__.loader is not None
        copy = importlib.util.module_from_spec(module.__spec__)
        began = time.perf_counter()
        module.__spec__.loader.exec_module(copy)
        spent["imports"] = spent.get("imports", 0) + (time.perf_counter() - began) * 1000
        for name, call in list(vars(module).items()):
            is_own = getattr(call, "__module__", "") == module.__name__
            if is_own and callable(call) and not isinstance(call, type):
                short = f"{module.__name__.removeprefix('ftlight.')}.{name}"
                setattr(module, name, timed(short, call))
    Task.on_train_batch_end = end  # a callback would be code that the run names
    words = ["fit", "--model", "TextClassification", "--model.backbone", backbone]
    words += ["--data.train", train, "--trainer.accelerator", "cpu"]
    main(words)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default=BACKBONE, help="hub id or folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one, options.backbone)
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as home:
        train = made(Path(home) / "made.csv")
        words = [sys.executable, str(Path(__file__).absolute()), "--backbone", options.backbone]
        for _ in range(options.rounds):
            done = subprocess.run(
                [*words, "--one", train],
                cwd=home,
                env=environment(),
                capture_output=True,
                text=True,
            )
            lines = [x.split() for x in done.stdout.splitlines() if x.startswith("GUARD")]
            assert lines, done.stderr[-2000:]
            found.append({name: float(value) for _, name, value in lines})
    print(f"{'milliseconds':50}{'median':>8}{'min':>8}{'max':>8}")
    names = sorted({name for round in found for name in round})
    rows = {name: [round.get(name, 0.0) for round in found] for name in names}
    rows["together"] = [sum(round.values()) for round in found]
    for name, values in rows.items():
        if max(values) >= 0.05:
            columns = (statistics.median(values), min(values), max(values))
            print(f"{name:50}{''.join(f'{value:8.1f}' for value in columns)}")


if __name__ == "__main__":
    main()
