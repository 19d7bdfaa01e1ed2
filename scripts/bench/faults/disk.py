"""Fills the disk under trainings, makes room, resumes them, and compares the end.

    python scripts/bench/faults disk
    python scripts/bench/faults disk --tasks TextClassification --processes 2 --sizes 10

Each run is in a small file system of its own (tmpfs; only root may mount one). In the first half of
the trials its size is swept, from a page to a little less than the undisturbed run takes. In the
second half it is large until a certain file is about to be written for the first, second, third or
last time: then another file takes all but a few bytes, swept around the size of the file that is
written. What then happens is up to the run, with ``trainer.unsaved`` warn and stop in turn. It has
to end by itself: with 0 if all is on the disk, else with 74 and one line. Then room is made and the
run resumed, with the same command, until it ends with 0.

Of every run: SHA-256 of weights and optimizer at the end, the rows of each step, metrics.csv, the
files of the test and the status, against the undisturbed run. Where nothing may be mounted, the
size of each file is limited instead (RLIMIT_FSIZE), which has no second half.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import common

PAGE = 4096
LARGE = "256m"
SECONDS = 120.0  # in which a run must end
STATUSES = (0, 2, 74)  # 2: before training, and in words
FILES = (
    *(".lock", "config.yaml", "run.json", "data", "metrics.csv"),
    *("best.ckpt", "last.ckpt", "test_metrics.json", "test_predictions.csv"),
)
Before = Callable[[], None] | None


class Lack(NamedTuple):
    """What a run lacks.

    Attributes:
        name: in words.
        size: bytes that its disk has; 0 for a large one.
        file: the file before which the disk is filled.
        time: which time that is, from 1.
        free: bytes that are left free then.
    """

    name: str
    size: int = 0
    file: str = ""
    time: int = 1
    free: int = 0


def mount(folder: Path, options: str) -> bool:
    """Mounts a file system in memory, or changes its size. Returns whether it could."""
    folder.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def fill(disk: Path, free: int) -> None:
    """Leaves so many bytes free on a disk."""
    while (left := shutil.disk_usage(disk).free - free) > 0:
        with (disk / "filler").open("ab", buffering=0) as file:
            try:
                file.write(bytes(min(left, 1 << 20)))
            except OSError:  # less than a page
                return


def fill_before(disk: Path, lack: Lack) -> None:
    """Has this process fill the disk when it is about to write a file."""
    from ftlight.run import folder as runs
    from ftlight.run import loggers
    from ftlight.utils import atomic, atomic_folder

    seen = Counter[str]()

    def count(name: str) -> None:
        seen[name] += 1
        if name == lack.file and seen[name] == lack.time:
            fill(disk, lack.free)

    def counted(call: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            count(name_of(*arguments))
            return call(*arguments, **options)

        return run

    atomic.part_of = counted(atomic.part_of, lambda path: path.name)
    atomic_folder.part_of = atomic.part_of
    loggers.append = counted(loggers.append, lambda path, *rest: path.name)
    runs.lock = counted(runs.lock, lambda folder: ".lock")


class Run:
    """A run that is trained undisturbed, then again and again on a disk that fills.

    Args:
        home: where its files go.
        task: the task.
        processes: 1 or 2.
        draw: random numbers, for its options.
    """

    def __init__(self, home: Path, task: str, processes: int, draw: random.Random) -> None:
        self.home, self.task, self.processes = home, task, processes
        self.options = {
            "max_epochs": 2,
            "save_every": draw.choice([1, 2, 3]),
            "log_every_n_steps": draw.choice([1, 2, 5]),
            "val_check_interval": draw.choice([1.0, 2]),
        }
        self.count = 0

    def start(self, name: str, folder: Path, unsaved: str, before: Before = None) -> list[int]:
        """Starts the processes that train, or go on with, the run in a folder."""
        rows = self.home / f"{name}-rows"
        rows.mkdir(exist_ok=True)
        options = {**self.options, "devices": self.processes, "unsaved": unsaved}
        config = self.home / f"{name}.yaml"
        config.write_text(json.dumps(common.config(self.task, rows, **options)))
        words = ["fit", "-c", str(config), "--run", str(folder), "--resume", "auto"]
        return common.start_group(words, self.home / f"{name}.log", self.processes, before)

    def undisturbed(self) -> None:
        """Notes what the run leaves if nothing happens, and how large its files are."""
        folder = self.home / f"{self.task}-{self.processes}"
        codes = common.wait_group(self.start(folder.name, folder, "warn"))
        if codes != [0] * self.processes:
            raise SystemExit(f"the undisturbed run ended with {codes}; see {folder}.log")
        self.wanted = common.result(folder, self.home / f"{folder.name}-rows")
        found = {file.name: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
        self.sizes = {"data": 4 * PAGE, **found}
        self.size = sum(-size // PAGE * -PAGE for size in found.values())

    def swept(self, count: int) -> Iterator[Lack]:
        """Disks of sizes from a page to what the run takes and two checkpoints more."""
        most = self.size + 2 * self.sizes["last.ckpt"]
        for i in range(count):
            size = max(1, round(most * i / count / PAGE)) * PAGE
            yield Lack(f"a disk of {size // 1024} kB", size)

    def filled(self, times: int) -> Iterator[Lack]:
        """Disks that are filled before each of the files that a run writes."""
        for file in FILES:
            size = self.sizes.get(file, 0)
            around = {0, size // 2, size - PAGE, size - 1, size, size + PAGE}
            for free in sorted(max(0, value) // PAGE * PAGE for value in around):
                for time_ in range(1, times + 1 if file in ("metrics.csv", *FILES[5:7]) else 2):
                    name = f"{free:,} bytes before {file}, time {time_}"
                    yield Lack(name, 0, file, time_, free)

    def trial(self, lack: Lack, unsaved: str, mounts: bool) -> tuple[int, str]:
        """Trains with a lack, then with room.

        Returns:
            The exit status with the lack, and the harm that was done; empty if none was.
        """
        self.count += 1
        name = f"{self.task}-{self.processes}-{self.count}"
        disk, size = self.home / name, lack.size or LARGE
        if mounts and not mount(disk, f"size={size}"):
            raise SystemExit("a file system may not be mounted here")
        try:
            disk.mkdir(exist_ok=True)
            return self._trial(name, disk, lack, unsaved, mounts)
        finally:
            if mounts:
                subprocess.run(["umount", str(disk)], check=True)

    def _trial(
        self, name: str, disk: Path, lack: Lack, unsaved: str, mounts: bool
    ) -> tuple[int, str]:
        def before() -> None:
            if not mounts:
                hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (lack.size, hard))
            elif lack.file:
                fill_before(disk, lack)

        rows, log = self.home / f"{name}-rows", self.home / f"{name}.log"
        code = self._end(self.start(name, disk / "run", unsaved, before))
        if code not in STATUSES or "Traceback" in log.read_text():
            return code, f"exit status {code}, see {log}"
        if code == 0 and (differ := self._differences(disk / "run", rows)):
            return code, f"exit status 0, and other {', '.join(differ)}"
        if mounts:
            (disk / "filler").unlink(missing_ok=True)
            mount(disk, f"remount,size={LARGE}")
        again = self._end(self.start(name, disk / "run", unsaved))
        if again != 0 or "Traceback" in log.read_text():
            return code, f"exit status {again} with room, see {log}"
        differ = self._differences(disk / "run", rows)
        differ += [file.name for file in disk.rglob("*.part")]
        return code, f"other {', '.join(differ)}, see {log}" if differ else ""

    def _end(self, numbers: list[int]) -> int:
        """Waits for processes. Returns the exit status of the first, or of another if that is 0."""
        until = time.monotonic() + SECONDS
        codes = common.wait_group(numbers, lambda: time.monotonic() > until)
        if codes is None:
            for number in numbers:
                common.kill(number)
            return -9
        return codes[0] or max(codes, key=abs)

    def _differences(self, folder: Path, rows: Path) -> list[str]:
        try:
            found = common.result(folder, rows)
        except Exception as error:  # whatever is missing
            return [f"{type(error).__name__}: {error}"]
        return common.differences(self.wanted, found)


def main() -> None:
    about = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    about.add_argument("--seed", type=int, default=0)
    about.add_argument("--tasks", nargs="*", default=["TextClassification", "CausalLM"])
    about.add_argument("--processes", nargs="*", type=int, default=[1, 2])
    about.add_argument("--sizes", type=int, default=40, help="sizes of the disk to try")
    about.add_argument(
        "--times", type=int, default=3, help="how often before each file the disk is filled; 0: not"
    )
    about.add_argument("--every", type=int, default=1, help="take only each so manieth trial")
    about.add_argument("--home", help="folder to work in; a temporary one if not given")
    options = about.parse_args()
    home = Path(tempfile.mkdtemp(dir=options.home))
    common.prepare(home)
    mounts = os.name == "posix" and mount(home / "probe", "size=1m")
    if mounts:
        subprocess.run(["umount", str(home / "probe")], check=True)
    print("tmpfs" if mounts else "nothing may be mounted: RLIMIT_FSIZE", flush=True)
    raise SystemExit(int(run_all(options, home, mounts)))


def run_all(options: argparse.Namespace, home: Path, mounts: bool) -> bool:
    """Runs all trials. Returns whether a run came to harm."""
    draw, totals = random.Random(options.seed), dict[str, Counter[str]]()
    for task in options.tasks:
        for processes in options.processes:
            run = Run(home, task, processes, draw)
            run.undisturbed()
            lacks = [*run.swept(options.sizes), *(run.filled(options.times) if mounts else ())]
            for number, lack in enumerate(lacks[:: options.every]):
                unsaved = ("warn", "stop")[number % 2]
                code, harm = run.trial(lack, unsaved, mounts)
                total = totals.setdefault(lack.file or "size of the disk", Counter())
                total.update({"trials": 1, f"status {code}": 1, "same": not harm})
                if harm:
                    what = f"{task}, {processes} processes, {unsaved}: {lack.name}: {harm}"
                    print(what, flush=True)
    everything = sum(totals.values(), Counter())
    columns = ["trials", "same", *sorted(name for name in everything if "status" in name)]
    print(f"\n{'full at':22}{''.join(f'{name:>12}' for name in columns)}")
    for name, total in [*totals.items(), ("all", everything)]:
        print(f"{name:22}{''.join(f'{total[column]:>12}' for column in columns)}")
    print("same: runs that, once there was room, left the same in everything")
    return everything["same"] != everything["trials"]


if __name__ == "__main__":
    main()
