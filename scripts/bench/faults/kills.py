"""Kills trainings again and again, resumes them, and compares the end with an undisturbed one.

    python scripts/bench/faults kills --kills 200

Each trial is a tiny run of one of the eight tasks in turn, dropout on, in one process or in two
(DDP), with drawn options: how often a checkpoint is written, how often the loss is logged, and how
often it is validated. It is trained undisturbed first. Then ``fit -c X.yaml --run DIR --resume
auto`` is killed with signal 9 after a random time and started again, five times at most, and then
left to end. Times are uniform over what is left of the length of the undisturbed training, so that
they fall into start, filling the cache, steps, validations, saves and the test. Every other kill
waits for a save to begin instead and comes within 20 ms of that. Of two processes either both are
killed, or one: the other must then end by itself, once they are connected. TMPDIR is on another
file system.

Of every run: SHA-256 of weights and optimizer at the end, the rows of each step, metrics.csv, the
files of the test, the status; after every kill: whether there is a checkpoint that can be read,
once there was one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common

PER_RUN = 5  # kills, at most
HANG = 30.0  # seconds in which a process must end after the other one was killed


def drawn(draw: random.Random) -> dict[str, Any]:
    """Options of the trainer that decide what is written when."""
    return {
        "max_epochs": 3,
        "save_every": draw.choice([1, 2, 3, 5, 7]),
        "log_every_n_steps": draw.choice([1, 2, 3, 5, 50]),
        "val_check_interval": draw.choice([1.0, 2]),  # some epochs have two batches
    }


def kill_when(seconds: float, folder: Path, draw: random.Random) -> Callable[[], bool]:
    """When to kill: after a time, or within 20 ms of the first save that begins after it."""
    at, saving, delay = time.monotonic() + seconds, draw.random() < 0.5, draw.uniform(0, 0.02)
    begun: list[float] = []

    def due() -> bool:
        now = time.monotonic()
        if now < at:
            return False
        if saving and not begun and now < at + 2:
            if any((folder / "checkpoints").glob("*.part")):
                begun.append(now + delay)
            return False
        return not begun or now >= begun[0]

    return due


def readable(folder: Path) -> bool:
    """Whether there is an intact checkpoint, or there never was one."""
    from ftlight.training import checkpoint

    files = list((folder / "checkpoints").glob("*.ckpt"))
    states = [f for f in files if f.name in ("last.ckpt", "previous.ckpt")]
    return all(not checkpoint.fault(f) for f in files) and (
        not states or checkpoint.newest(folder / "checkpoints") is not None
    )


def steps_done(folder: Path) -> int:
    """Steps of a run by what it wrote down, which a kill may have cut."""
    lines = (folder / "rows.jsonl").read_text().splitlines() if folder.exists() else []
    return json.loads(lines[-1])["step"] + 1 if lines and lines[-1].endswith("}") else 0


class Trial:
    """A run that is killed and resumed.

    Args:
        home: where its files go.
        name: its name.
        task: the task.
        processes: 1 or 2.
        draw: random numbers.
        temporary: its TMPDIR.
    """

    def __init__(
        self,
        home: Path,
        name: str,
        task: str,
        processes: int,
        draw: random.Random,
        temporary: Path,
    ) -> None:
        self.home, self.name, self.processes, self.draw = home, name, processes, draw
        self.temporary = temporary
        self.config = home / f"{name}.yaml"
        self.options = drawn(draw)
        config = common.config(task, devices=processes, **self.options)
        self.config.write_text(json.dumps(config))
        self.linked = home / f"{name}.linked"
        self.kills = self.saving = self.broken = self.hangs = self.early = 0

    def start(self, folder: Path) -> list[int]:
        """Starts the processes that train, or go on with, the run in a folder."""
        words = ["fit", "-c", str(self.config), "--run", str(folder), "--resume", "auto"]
        log, caches = self.home / f"{folder.name}.log", self.home / f"{folder.name}-caches"
        places = {
            "TMPDIR": str(self.temporary),
            "FTLIGHT_CACHE": str(caches / "activations"),
            "HF_DATASETS_CACHE": str(caches / "tables"),
        }
        self.linked.unlink(missing_ok=True)
        return common.start_group(words, log, self.processes, self._note_link, **places)

    def _note_link(self) -> None:
        """Makes a process write a file as soon as it hears the other one."""
        from ftlight.training.peers import Peers

        listen = Peers._listen

        def noted(*arguments: Any) -> None:
            self.linked.touch()
            listen(*arguments)

        Peers._listen = noted  # type: ignore[method-assign]

    def undisturbed(self) -> tuple[dict[str, Any], float]:
        """What the run leaves if nothing happens, and its seconds."""
        began = time.monotonic()
        folder = self.home / f"{self.name}-whole"
        codes = common.wait_group(self.start(folder))
        if codes != [0] * self.processes:
            raise SystemExit(f"the undisturbed run ended with {codes}; see {folder}.log")
        self.steps = steps_done(folder)
        return common.result(folder), time.monotonic() - began

    def disturb(
        self, folder: Path, seconds: float, kills: int, wanted: dict[str, Any]
    ) -> list[str]:
        """Trains with at most so many kills. Returns what differs from what is wanted."""
        while True:
            numbers = self.start(folder)
            left = 1.0
            if (folder / "rows.jsonl").exists():
                left = 1 - steps_done(folder) / self.steps
            spread = self.draw.uniform(0, seconds * max(left, 0.3))
            due = kill_when(spread, folder, self.draw)
            codes = common.wait_group(numbers, due if self.kills < kills else lambda: False)
            if codes is not None:
                if any(codes):
                    return [f"exit status {codes}, see {folder}.log"]
                return common.differences(wanted, common.result(folder))
            self._kill(numbers, folder)
            self.saving += any((folder / "checkpoints").glob("*.part"))
            self.broken += not readable(folder)

    def _kill(self, numbers: list[int], folder: Path) -> None:
        """Kills all processes, or one; then waits for the others."""
        alone, linked = len(numbers) > 1 and self.draw.random() < 0.5, self.linked.exists()
        for number in [self.draw.choice(numbers)] if alone else numbers:
            with contextlib.suppress(ProcessLookupError):  # it had ended just now
                os.kill(number, signal.SIGKILL)
        self.kills += 1
        if alone and not linked:  # only their launcher can see that; otherwise it takes minutes
            self.early += 1
            for number in numbers:
                common.kill(number)
        until = time.monotonic() + HANG
        if common.wait_group(numbers, lambda: time.monotonic() > until) is not None:
            return
        self.hangs += 1
        print(f"{folder}: hung", flush=True)
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGUSR1)  # its stacks go to its log
        time.sleep(1)
        for number in numbers:
            common.kill(number)


def main() -> None:
    about = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    about.add_argument("--kills", type=int, default=200)
    about.add_argument("--seed", type=int, default=0)
    about.add_argument("--tasks", nargs="*", default=list(common.TASKS))
    about.add_argument("--processes", nargs="*", type=int, default=[1, 2])
    about.add_argument(
        "--tmpdir", default="/dev/shm", help="folder on another file system than --home"
    )
    about.add_argument(
        "--home", help="folder to work in; one of the system's temporary ones if not given"
    )
    options = about.parse_args()
    home = Path(tempfile.mkdtemp(dir=options.home))
    other = options.tmpdir if Path(options.tmpdir).is_dir() else None
    temporary = Path(tempfile.mkdtemp(dir=other))
    common.prepare(home)
    is_other = home.stat().st_dev != temporary.stat().st_dev
    print(f"TMPDIR is on {'another' if is_other else 'the same'} file system", flush=True)
    raise SystemExit(int(run_all(options, home, temporary)))


def run_all(options: argparse.Namespace, home: Path, temporary: Path) -> bool:
    """Runs trials until there were so many kills. Returns whether one came to harm."""
    draw, kills, runs = random.Random(options.seed), 0, 0
    totals: dict[str, Counter[str]] = {}
    while kills < options.kills:
        task = options.tasks[runs % len(options.tasks)]
        processes = options.processes[runs // len(options.tasks) % len(options.processes)]
        trial = Trial(home, f"run{runs}", task, processes, draw, temporary)
        wanted, seconds = trial.undisturbed()
        most = min(PER_RUN, options.kills - kills)
        differ = trial.disturb(home / trial.name, seconds, most, wanted)
        kills, runs = kills + trial.kills, runs + 1
        total = totals.setdefault(f"{task}, {processes}", Counter())
        total.update(runs=1, same=not differ, kills=trial.kills, saving=trial.saving)
        total.update(unreadable=trial.broken, hung=trial.hangs, early=trial.early)
        what = "the same" if not differ else f"other {', '.join(differ)}"
        drawn_ = ", ".join(f"{name} {value}" for name, value in trial.options.items())
        print(
            f"run {runs}: {task}, {processes} processes, {drawn_}: {trial.kills} kills; {what}",
            flush=True,
        )
    left = [*home.glob("run*/**/*.part"), *home.glob("run*-caches/**/*.bin.*")]
    return table(totals, len(left))


def table(totals: dict[str, Counter[str]], left: int) -> bool:
    """Prints what became of the runs. Returns whether one came to harm."""
    columns = ("runs", "same", "kills", "saving", "unreadable", "hung", "early")
    everything = sum(totals.values(), Counter())
    print(f"\n{'task, processes':26}{''.join(f'{name:>12}' for name in columns)}")
    for name, total in [*sorted(totals.items()), ("all", everything)]:
        print(f"{name:26}{''.join(f'{total[column]:>12}' for column in columns)}")
    print(
        "same: runs that left the same in everything; saving: kills while a checkpoint was being"
        " written; early: one of two was killed before they were connected, and the other with"
        " it, as a launcher would\n"
        f"kills that left a checkpoint unreadable: {everything['unreadable']};"
        f" parts of files left: {left}; processes that hung: {everything['hung']}"
    )
    harm = everything["unreadable"] + everything["hung"]
    return everything["same"] != everything["runs"] or harm > 0
