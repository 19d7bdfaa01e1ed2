"""Sends harmed and hostile input of 23 forms to the verbs that read it.

    python scripts/bench/fuzz.py --mutations 300

Makes a whole example of each form (fuzz_forms.py), harms copies of it (bits, cuts, texts put in,
cells, names, types and parts exchanged, packed files packed again), and gives each to one of the
verbs that read the form, in a process forked after all imports, with limits of time and memory. A
number and a seed stand for the same harm each time; --case shows one.

Good is status 0, or 1, 2 or 74 with a line that says why. Bad is a traceback, another status, more
than 20 s of processor, or more than 2 GiB of memory at its peak.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import importlib
import json
import math
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "faults"), str(HERE.parents[1] / "tests")]
import common  # noqa: E402
import fuzz_forms  # noqa: E402
from fuzz_forms import FORMS  # noqa: E402

SECONDS, MEMORY = 20, 2 << 30  # of processor; bytes at the peak
ROOM = 4 << 30  # bytes that a process may take beside what all have
SAID = re.compile(r"^ftlight: error: (.*)$", re.MULTILINE)
FRAME = re.compile(r'File ".*?([\w-]+/\w+\.py", line \d+ in \w+)')
PRELOADED = (
    *("pyarrow.parquet", "pyarrow.csv", "python_calamine", "PIL.Image", "sklearn.linear_model"),
    *("ftlight.trainer.trainer", "ftlight.cli.parser"),
    *(
        f"ftlight.cli.verbs.{verb}"
        for verb in ("check", "fit", "init", "predict", "report", "tune")
    ),
    *(f"transformers.models.{m}.modeling_{m}" for m in ("auto", "bert", "llama", "resnet", "t5")),
    *(
        f"ftlight.tasks.{task}.{part}"
        for task in (
            *("text_classification", "image_classification", "token_classification"),
            *("question_answering", "causal_lm", "seq2seq", "retrieval", "masked_lm"),
        )
        for part in ("task", "data", "recognize")
    ),
)


class Outcome(NamedTuple):
    """How a command ended.

    Attributes:
        kind: read, refused, traceback, status, or late.
        said: the line, or the last one of a traceback.
        seconds: of processor, those of processes that it started included.
        peak: bytes of memory at most.
    """

    kind: str
    said: str
    seconds: float
    peak: int


class Bench:
    """Whole examples, and copies of them to harm.

    Args:
        home: a new folder for all files.
        seed: seed of all harm.
    """

    def __init__(self, home: Path, seed: int) -> None:
        self.home, self.seed = home, seed
        self.made = home / "made"
        environment = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
        environment |= {"TOKENIZERS_PARALLELISM": "false", "XDG_STATE_HOME": str(home / "state")}
        caches = {"FTLIGHT_CACHE": str(home / "cache"), "HF_DATASETS_CACHE": str(home / "datasets")}
        os.environ.update(environment | caches)
        home.mkdir()
        fuzz_forms.make(self.made)
        os.chdir(self.made)
        for name in PRELOADED:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        self._warm_up()
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        self.limit = used + ROOM

    def _warm_up(self) -> None:
        """Trains the run, in this process: what it imports then need not be imported again."""
        from ftlight.__main__ import main

        fit = "fit -c text.yaml --run run --trainer.max_steps 2 --trainer.report true"
        for words in (fit, "init rows.csv", "predict run rows.csv --out warm.csv"):
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                if main(words.split()):
                    sys.exit(f"{words} failed")

    def words(self, form: str, it: Path, number: int, draw: random.Random) -> list[str]:
        """The words of a command of a form, by its number, on an example."""
        chosen = FORMS[form]
        words = fuzz_forms.command_line(draw) if form == "command line" else []
        words = words or chosen.commands[number].split()
        places = {
            "IT": str(it),
            "NEW": str(it.parent / "new"),
            "NEW.html": str(it.parent / "new.html"),
            "RUN": str(self.made / "run"),
            "ROWS": str(self.made / "rows.csv"),
            "CONFIG": str(self.made / f"{chosen.kind or 'text'}.yaml"),
        }
        return [places.get(word, word) for word in words]

    def start(self, form: str, number: int) -> tuple[int, Path, list[str]]:
        """Harms an example and starts a command on it; below 0 it stays whole.

        Returns:
            The process, its folder, its words.
        """
        draw = random.Random(f"{self.seed} {form} {number}")
        work = Path(tempfile.mkdtemp(dir=self.home))
        source = self.made / FORMS[form].source
        copy = shutil.copytree if source.is_dir() else shutil.copy
        it = Path(copy(source, work / source.name))
        chosen = draw.randrange(len(FORMS[form].commands) or 1) if number >= 0 else -1 - number
        words = self.words(form, it, chosen, draw)
        if form != "command line" and number >= 0:
            fuzz_forms.harm(FORMS[form], it, draw)

        def before() -> None:
            os.chdir(self.made if form == "config" else work)
            signal.signal(signal.SIGXCPU, signal.SIG_DFL)
            faulthandler.register(signal.SIGXCPU, chain=True)  # where it was stands in the log
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS + 1, resource.RLIM_INFINITY))
            resource.setrlimit(resource.RLIMIT_AS, (self.limit, resource.RLIM_INFINITY))

        cache = {"HF_DATASETS_CACHE": str(work / "datasets"), "FTLIGHT_CACHE": str(work / "cache")}
        return common.start(words, work / "log", before, **cache), work, words

    def run(
        self, names: list[tuple[str, int]], jobs: int = 1, until: float = math.inf
    ) -> Iterator[tuple[str, int, Outcome]]:
        """Runs cases, several at once, and yields how each ended; begins none after a time."""
        waiting, running = collections.deque(names), {}
        while (waiting and time.monotonic() < until) or running:
            while waiting and len(running) < jobs and time.monotonic() < until:
                form, number = waiting.popleft()
                process, work, words = self.start(form, number)
                running[process] = form, number, work, words, time.monotonic()
            process, status, usage = os.wait4(-1, os.WNOHANG)
            for other, (*_, began) in running.items():
                if other != process and time.monotonic() - began > 5 * SECONDS:  # it waits
                    os.kill(other, signal.SIGKILL)
            if process not in running:
                time.sleep(0.002)
                continue
            form, number, work, words, _ = running.pop(process)
            log = (work / "log").read_text(errors="replace")
            ended = outcome(os.waitstatus_to_exitcode(status), log, usage)
            if is_bad(ended) or (number < 0 and ended.kind != "read" and form != "sweep"):
                where = f"{form}#{number}: {' '.join(words)[:300]}"
                print(f"  BAD {where}\n    {ended}"[:1000], flush=True)
            shutil.rmtree(work, ignore_errors=True)
            yield form, number, ended


def outcome(code: int, log: str, usage: resource.struct_rusage) -> Outcome:
    """How a process ended, by its status and what it printed."""
    seconds, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10
    said = SAID.findall(log)
    if "Traceback (most recent call last)" in log:
        frames = re.findall(r'File ".*?(ftlight/\S+\.py)", line (\d+)', log)
        where = ":".join(frames[-1]) if frames else "?"
        return Outcome(
            "traceback", f"{log.strip().splitlines()[-1][:300]} at {where}", seconds, peak
        )
    if code == -signal.SIGXCPU or seconds > SECONDS:
        return Outcome("late", " < ".join(FRAME.findall(log)[:6]), seconds, peak)
    if code == 0:
        return Outcome("read", "", seconds, peak)
    if code in (1, 2, 74) and said:
        return Outcome("refused", said[0], seconds, peak)
    return Outcome("status", f"{code}: {log.strip()[-300:]}", seconds, peak)


def is_bad(ended: Outcome) -> bool:
    """Whether a command ended as none should."""
    return ended.kind not in ("read", "refused") or ended.peak > MEMORY


def table(outcomes: dict[tuple[str, int], Outcome]) -> str:
    """What came of each form, as Markdown."""
    heads = ["form", "mutations", "refused in a line", "read", "tracebacks", "other status"]
    heads += [f"over {SECONDS} s", "seconds of processor, mean and most", "peak memory"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for form in [*FORMS, ""]:
        some = [ended for (name, _), ended in outcomes.items() if form in (name, "")]
        if not some:
            continue
        kinds = collections.Counter(ended.kind for ended in some)
        counts = [kinds[kind] for kind in ("refused", "read", "traceback", "status", "late")]
        seconds = [ended.seconds for ended in some]
        peak = max(ended.peak for ended in some) / 2**30
        spent = f"{sum(seconds) / len(some):.2f}, {max(seconds):.1f}"
        cells = [form or "all", len(some), *counts, spent, f"{peak:.2f} GiB"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    about = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    about.add_argument("--mutations", type=int, default=300, help="of each form")
    about.add_argument("--forms", nargs="*", default=list(FORMS), help=f"of {', '.join(FORMS)}")
    about.add_argument("--seed", type=int, default=0)
    about.add_argument("--jobs", type=int, default=2)
    about.add_argument("--minutes", type=float, default=600, help="after which no case begins")
    about.add_argument(
        "--whole", action="store_true", help="first each command without harm: it must work"
    )
    about.add_argument("--case", default="", help="show what one, such as csv#7, prints")
    about.add_argument("--out", type=Path, help="file of outcomes; what is in it is not run again")
    asked = about.parse_args()
    if asked.case:
        form, _, number = asked.case.partition("#")
        print(show(form, int(number), asked.seed))
        return
    names = [(form, number) for number in range(asked.mutations) for form in asked.forms]
    if asked.whole:
        names[:0] = [(f, -1 - i) for f in asked.forms for i in range(len(FORMS[f].commands))]
    with tempfile.TemporaryDirectory() as folder:
        file = (asked.out or Path(folder, "outcomes.jsonl")).absolute()
        done = read(file)
        names = [name for name in names if name not in done]
        bench = Bench(Path(folder) / "home", asked.seed)
        with file.open("a") as out:
            for form, number, ended in bench.run(
                names, asked.jobs, time.monotonic() + 60 * asked.minutes
            ):
                print(json.dumps([form, number, *ended]), file=out, flush=True)
        outcomes = read(file)
        os.chdir("/")
    print(table(outcomes))
    sys.exit(any(map(is_bad, outcomes.values())))


def read(file: Path) -> dict[tuple[str, int], Outcome]:
    """The outcomes in a file by form and number; none if there is no file."""
    lines = file.read_text().splitlines() if file.exists() else []
    rows = map(json.loads, lines)
    return {(form, number): Outcome(*ended) for form, number, *ended in rows}


def show(form: str, number: int, seed: int) -> str:
    """The words of a case, and what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "home", seed)
        process, work, words = bench.start(form, number)
        common.wait_group([process])
        os.chdir("/")
        return f"{' '.join(words)}\n{(work / 'log').read_text(errors='replace')}"


if __name__ == "__main__":
    main()
