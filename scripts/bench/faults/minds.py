"""Changes one option at a time when a run resumes: it is refused, or every row is seen once.

    python scripts/bench/faults minds --tasks TextClassification MaskedLM

A tiny run of each task is stopped within its first epoch. Then a copy of it is resumed with one
option of its data module, its task or the trainer changed, for every option whose other values
follow from its type: numbers, truth values, choices. Names of columns and places are left out. What
is harm: a row that the epoch sees twice, a traceback, a status other than 0 and 2, and a refused
run that is not left as it was.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common

STOP = 2  # steps before the run is stopped
# Options of the trainer that say where a run is or what is attached to it.
LEFT_OUT = {
    *("run", "resume", "name", "wandb", "unsaved", "precision", "accelerator", "devices"),
    *("num_nodes", "plugins", "callbacks", "logger", "profiler", "strategy", "fast_dev_run"),
    *("barebones", "enable_checkpointing", "default_root_dir", "model_registry", "detect_anomaly"),
}


def values(kind: str, default: Any) -> list[str]:
    """Other values of an option, by its type."""
    found = []
    for node in ast.walk(ast.parse(kind or "None", mode="eval")):
        if isinstance(node, ast.Subscript) and "Literal" in ast.unparse(node.value):
            found += [str(c.value) for c in ast.walk(node.slice) if isinstance(c, ast.Constant)]
        elif isinstance(node, ast.Name) and node.id == "bool":
            found += ["true", "false"]
        elif isinstance(node, ast.Name) and node.id == "int":
            found.append(str((default or 0) + 2 if isinstance(default, (int, type(None))) else 2))
        elif isinstance(node, ast.Name) and node.id == "float":
            found.append("0.3" if default != 0.3 else "0.4")
    said = {"True": "true", "False": "false"}.get(str(default), str(default))
    return [value for value in dict.fromkeys(found) if value != said]


def changes(task: str) -> list[tuple[str, str]]:
    """Options with another value each, of a task, its data module and the trainer."""
    from ftlight.cli import classes, config

    described = classes.describe(task)
    parts = {
        "data": classes.describe(str(described.data_module)).options,
        "model": described.options,
        "trainer": [o for o in classes.describe(config.TRAINER).options if o.name not in LEFT_OUT],
    }
    found = [("seed_everything", "5")]
    for section, options in parts.items():
        for option in options:
            name = f"{section}.{option.name}"
            found += [(name, value) for value in values(option.full_type, option.default)]
    return found


def stopped() -> None:
    """Has this process stop its run after some steps, as a signal would."""
    from ftlight.trainer.resume import Last

    old = Last.on_train_batch_start

    def hook(self: Any, trainer: Any, *rest: Any) -> None:
        if trainer.global_step == STOP:
            self.signals.received = signal.SIGTERM
        old(self, trainer, *rest)

    Last.on_train_batch_start = hook  # type: ignore[method-assign]


def rows(folder: Path) -> Counter[int]:
    """How often the first epoch saw each row; of a batch begun twice the last time counts."""
    seen: dict[int, list[int]] = {}
    for line in (folder / "rows.jsonl").read_text().splitlines():
        step = json.loads(line)
        if step["epoch"] == 0:
            seen[step["batch"]] = step["rows"]
    return Counter(row for found in seen.values() for row in found)


def content(folder: Path) -> dict[str, bytes]:
    """The files of a run, but its lock."""
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix}


def judge(folder: Path, log: Path, code: int, before: dict[str, bytes]) -> str:
    """What became of a run that was resumed with a change."""
    said = log.read_text()
    if "Traceback" in said or code not in (0, 2):
        return f"HARM: status {code}"
    refused = " began with " in said
    if code == 2 and content(folder) == before:
        return "refused: other rows" if refused else "refused by another check"
    most = max(rows(folder).values())
    if refused or most > 1:
        return f"HARM: refused too late, or a row {most} times"
    return "allowed, every row once" if code == 0 else "refused after training"


def trials(
    home: Path, task: str, wanted: Sequence[tuple[str, str]], shown: bool
) -> list[tuple[str, str, str, str]]:
    """Resumes the run of a task with each change. Returns task, option, value and what became."""
    source, found = home / f"{task}.yaml", []
    made = common.config(task, max_epochs=2)
    source.write_text(json.dumps(made))
    first = home / task
    code = common.wait_group(
        [common.start(["fit", "-c", str(source), "--run", str(first)], home / "first.log", stopped)]
    )
    if code != [75]:
        raise SystemExit(f"{task} was not stopped: {(home / 'first.log').read_text()}")
    for number, (option, value) in enumerate(wanted):
        folder, log = home / f"{task}-{number}", home / f"{task}-{number}.log"
        shutil.copytree(first, folder)
        before = content(folder)
        words = ["fit", "--resume", str(folder), f"--{option}", value]
        codes = common.wait_group([common.start(words, log)])
        end = judge(folder, log, (codes or [1])[0], before)
        found.append((task, option, value, end))
        if shown or end.startswith("HARM"):
            last = log.read_text().splitlines()[-1:] if "every row" not in end else []
            print(f"{task:20} --{option} {value}: {end} {' '.join(last)[:160]}", flush=True)
        if not end.startswith("HARM"):
            shutil.rmtree(folder)
            log.unlink()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="*", default=list(common.TASKS))
    parser.add_argument("--most", type=int, default=10**6, help="options of each task, drawn")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument("--show", action="store_true", help="print every trial")
    parser.add_argument("--home", type=Path, help="folder for all files; default: a new one")
    given = parser.parse_args()
    home = given.home or Path(tempfile.mkdtemp(prefix="ftlight-minds-"))
    home.mkdir(exist_ok=True)
    common.prepare(home)
    draw, found = random.Random(given.seed), []
    for task in given.tasks:
        wanted = changes(task)
        draw.shuffle(wanted)
        found += trials(home, task, wanted[: given.most], given.show)
    ends: dict[str, Counter[str]] = {}
    for task, _, _, end in found:
        ends.setdefault(task, Counter())[end.split(":")[0] if "HARM" in end else end] += 1
    kinds = sorted({end for counter in ends.values() for end in counter})
    print(f"{'task':20} " + " | ".join(kinds))
    for task, counter in ends.items():
        print(f"{task:20} " + " | ".join(f"{counter[kind]:{len(kind)}}" for kind in kinds))
    harmed = [trial for trial in found if trial[3].startswith("HARM")]
    print(f"{len(found)} changes, {len(harmed)} came to harm; files in {home}")
    if not harmed and given.home is None:
        shutil.rmtree(home)
    raise SystemExit(bool(harmed))
