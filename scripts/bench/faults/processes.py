"""Harms one of two processes that train together, and checks how both end.

    python scripts/bench/faults processes
    python scripts/bench/faults processes --kinds kill stuck --places validation --busy

Each trial is a tiny run with a cache of frozen layers in two processes (DDP). One of them is killed
with signal 9 or 11, or raises an error of some kind, at a place: at its start, before the processes
know each other; when data are set up; while the cache is filled; in a step; in a validation; while
a checkpoint is made; in the test at the end; in ``predict``. With --busy the other process computes
for ever at that place, and so notices nothing in a collective. With --launcher lightning the first
process starts the second one (slow: that one imports everything); else both are started as torchrun
or srun would do it.

Both must end within 30 seconds with a status other than 0, say in one line what happened, leave no
process behind, and ``--resume auto`` must end as a run that was left alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import torch
import wounds

HANG = 30.0
GIVE_UP = 45.0  # seconds after which a trial is ended
LINES = {  # what the screen must say of each kind
    "kill": r"rank \d of 2 has ended",
    "crash": r"rank \d of 2 has ended",
    "raise": "a fault of a callback",
    "stuck": "a fault of a callback",
    "wrong": "toy.csv:7: no label",
    "memory": "not enough memory",
    "disk": "No space left on device",
    "loader": "a process that loads batches was killed|DataLoader worker .* is killed by signal",
    "exit": r"rank \d of 2 has ended",
}


class Trial(NamedTuple):
    """A case: where, what, which process, who started them, whether the other is busy."""

    place: str
    kind: str
    rank: int
    launcher: str
    busy: bool

    @property
    def name(self) -> str:
        """Name of its files."""
        busy = "-busy" if self.busy else ""
        return f"{self.launcher}-{self.place}-{self.kind}-{self.rank}{busy}"


class Outcome(NamedTuple):
    """How a trial ended: seconds from the harm, exit statuses, the line, and what is wrong."""

    seconds: float
    codes: list[int]
    line: str
    faults: list[str]


def options(home: Path, trial: Trial | None) -> dict[str, Any]:
    """The config of a run, with a wound if a trial is given."""
    made = common.config("TextClassification", devices=2, save_every=2, max_epochs=2)
    if trial is not None:
        made["data"]["workers"] = int(trial.kind == "loader")
        wound = {
            "place": trial.place,
            "kind": trial.kind,
            "rank": trial.rank,
            "mark": str(home / f"{trial.name}.mark"),
            "busy": trial.busy,
        }
        callbacks = made["trainer"]["callbacks"]
        callbacks.append({"class_path": "wounds.Wound", "init_args": wound})
    return made


def start(words: Sequence[str], log: Path, launcher: str, **environment: str) -> list[int]:
    """Starts two processes, or one that starts the other. Returns the leaders of their groups."""
    if launcher != "lightning":
        return common.start_group(words, log, 2, **environment)
    command = [sys.executable, "-m", "ftlight", *words]  # Lightning runs the same again
    path = os.pathsep.join(filter(None, sys.path))
    with log.open("a") as file:
        started = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": path, **environment},
            stdout=file,
            stderr=file,
            process_group=0,
        )
    return [started.pid]


def in_group(number: int) -> list[int]:
    """Numbers of the processes in the group of one, which may itself be gone."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == number and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def run(home: Path, trial: Trial, whole: dict[str, Any], predicted: Path) -> Outcome:
    """Runs a trial."""
    config, log, mark = (home / f"{trial.name}.{end}" for end in ("json", "log", "mark"))
    folder = home / trial.name
    predicts = trial.place == "predict"
    config.write_text(json.dumps(options(home, trial)))
    words = ["fit", "-c", str(config), "--run", str(folder), "--resume", "auto"]
    if predicts:
        words = ["predict", str(predicted), "text-test.csv", "--out", str(folder) + ".csv"]
        words += ["--trainer.devices", "2", "--trainer.callbacks"]
        words += [json.dumps(options(home, trial)["trainer"]["callbacks"][1:])]
    cache = {} if trial.place != "cache" else {"FTLIGHT_CACHE": str(home / f"{trial.name}-cache")}
    seconds, codes, faults = watch(start(words, log, trial.launcher, **cache), mark)
    line = said(log, trial.kind)
    faults += [] if line else ["no line"]
    does_without = (trial.place, trial.kind) == ("cache", "disk")  # and a line says so
    if 0 in codes and not does_without:
        faults.append("a status of 0")
    if not predicts and not faults:
        faults += resumed(home, trial, folder, whole, cache)
    return Outcome(seconds, codes, line, faults)


def watch(numbers: list[int], mark: Path) -> tuple[float, list[int], list[str]]:
    """Waits for the end of all. Returns the seconds since the harm, statuses, and what is wrong."""
    began = time.time()

    def too_long() -> bool:
        harmed = float(mark.read_text() or 0) if mark.exists() else 0.0
        return time.time() - (harmed or began + 120) > GIVE_UP

    codes = common.wait_group(numbers, too_long)
    while codes is not None and any(in_group(number) for number in numbers) and not too_long():
        time.sleep(0.05)
    left = [other for number in numbers for other in in_group(number)]
    faults = [f"{len(left)} processes left"] if left or codes is None else []
    for number in left:
        os.kill(number, signal.SIGKILL)
    for number in numbers:
        common.kill(number)
    if not mark.exists():
        return 0.0, codes or [], [*faults, "no harm was done"]
    seconds = time.time() - float(mark.read_text())
    if seconds > HANG:
        faults.append("too late")
    return seconds, codes or [], faults


def said(log: Path, kind: str) -> str:
    """The line on the screen that says what happened."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    found = [line for line in lines if re.search(LINES[kind], line)]
    return found[-1] if found else ""


def resumed(
    home: Path, trial: Trial, folder: Path, whole: dict[str, Any], environment: dict[str, str]
) -> list[str]:
    """What differs after the run was resumed."""
    config = home / "whole.json"
    words = ["fit", "-c", str(config), "--run", str(folder), "--resume", "auto"]
    log = home / f"{trial.name}.again.log"
    codes = common.wait_group(common.start_group(words, log, 2, **environment))
    if codes != [0, 0]:
        return [f"resumed: {codes}"]
    cache = Path(environment.get("FTLIGHT_CACHE", home / "cache"))
    left = [*folder.glob("**/*.part"), *cache.glob("*.part")]
    return [*common.differences(whole, common.result(folder)), *(f"left: {f}" for f in left)]


def trials(options: argparse.Namespace) -> list[Trial]:
    """The cases that were asked for; those that cannot be are left out."""
    asked = (options.places, options.kinds, options.ranks, options.launchers, [options.busy])
    cases = [Trial(*case) for case in itertools.product(*asked)]
    loads = ("training", "validation", "test")
    # a first process that is killed before it has started the other leaves nobody to say so
    alone = ("lightning", "start", 0)
    cases = [
        c
        for c in cases
        if (c.launcher, c.place, c.rank) != alone or c.kind not in ("kill", "crash", "exit")
    ]
    # the process whose loader was killed may wait for the busy one, as it should
    return [c for c in cases if c.kind != "loader" or (c.place in loads and not c.busy)]


def main() -> None:
    about = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    about.add_argument("--places", nargs="*", default=list(wounds.PLACES))
    about.add_argument("--kinds", nargs="*", default=list(wounds.KINDS))
    about.add_argument("--ranks", nargs="*", type=int, default=[0, 1])
    about.add_argument("--launchers", nargs="*", default=["torchrun"])
    about.add_argument("--busy", action="store_true", help="the other process notices nothing")
    about.add_argument("--home", help="folder to work in; a temporary one if not given")
    asked = about.parse_args()
    home = Path(tempfile.mkdtemp(dir=asked.home))
    common.prepare(home)
    torch.set_num_threads(1)  # as Lightning has it for several processes: sums depend on it
    (home / "whole.json").write_text(json.dumps(options(home, None)))
    words = ["fit", "-c", str(home / "whole.json"), "--run", str(home / "whole")]
    codes = common.wait_group(common.start_group(words, home / "whole.log", 2))
    if codes != [0, 0]:
        sys.exit(f"the undisturbed run ended with {codes}; see {home}/whole.log")
    whole = common.result(home / "whole")
    bad = 0
    cases = trials(asked)
    for trial in cases:
        outcome = run(home, trial, whole, home / "whole")
        bad += bool(outcome.faults)
        end = ", ".join(outcome.faults) or "as it must be"
        codes_ = ",".join(map(str, outcome.codes)) or "-"
        name = f"{trial.name:32}"
        print(f"{name} {outcome.seconds:5.1f} s  {codes_:8} {end}  | {outcome.line}", flush=True)
    print(f"trials that ended as they must: {len(cases) - bad}/{len(cases)} (in {home})")
    raise SystemExit(int(bad > 0))
