"""Gives every option hostile values, in a config and on the command line, and counts tracebacks.

    python scripts/bench/faults values --trials 2000

An option of each task, data module and the trainer, once each, times the values below, in a drawn
order. What is refused must be so in lines that begin with ``ftlight: error: ``, with status 2; what
is taken is trained for a step, and must leave no weights that are not finite. Then whole configs
that are nested, endless or no YAML, and arguments of the verbs. A trial that lasts longer than
--seconds is a hang. Values that would start many processes or wait for other machines are left out.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import toys
import yaml

# As they are written in YAML.
VALUES = (
    *("-1", "0", "-0.0", "0.5", "1", "1.5", "2", "1e30", "-1e-300", "1e400", ".nan", "-.inf"),
    *("1" + "0" * 20, "1" + "0" * 400, "9" * 5000, '"5"', "1_000", "0x10", "1e3", "true", "null"),
    *('""', "fast", "[1]", "{a: 1}", "2020-01-31", r'"a\0b"', r'"\ud800"', '"~nobody/x"'),
    *("x" * 300, "a/" * 3000, "!!binary aGk=", "!!set {a}", "!!int five", "&a [*a]", "[" * 2000),
    *("\t5", "'\x07'"),
)
CASES = {
    **common.TASKS,
    "TextClassification": "text, single label",
    "ImageClassification": "images",
}
STARTS_MANY = ("trainer.devices", "trainer.num_nodes", "data.workers")
ROOM = 16 << 30  # bytes of address space of a trial


class Trial(NamedTuple):
    """A command line, and what is wrong with it in a few words."""

    what: str
    words: Sequence[str]
    config: str = ""


def written(config: dict[str, Any], key: str = "", value: str = "") -> str:
    """A config as YAML with an option written as it is given, whatever that is."""
    lines = []
    section, _, name = key.partition(".")
    for part, options in config.items():
        lines.append(f"{part}:")
        lines += [f"  {k}: {json.dumps(v)}" for k, v in options.items() if f"{part}.{k}" != key]
        lines += [f"  {name}: {value}"] if part == section and name else []
    return "\n".join([*lines, *([f"{key}: {value}"] if key and not name else []), ""])


def options() -> Iterator[tuple[str, str]]:
    """Every option once, with a task that has it."""
    from ftlight.cli import classes, config

    seen = set()
    yield "TextClassification", "seed_everything"
    for task in CASES:
        described = classes.describe(task)
        data = classes.describe(str(described.data_module))
        sections = {"model": described, "data": data, "trainer": classes.describe(config.TRAINER)}
        for section, found in sections.items():
            for option in found.options:
                if (section, option.name, option.owner) not in seen:
                    seen.add((section, option.name, option.owner))
                    yield task, f"{section}.{option.name}"


def of_options() -> Iterator[Trial]:
    """Every value for every option, in a config and on the command line."""
    made = toys.cases()
    for task, key in options():
        config = {**made[CASES[task]], "trainer": {**toys.TRAINER, "max_steps": 1}}
        config["trainer"].pop("max_epochs")
        for value in VALUES:
            if key in STARTS_MANY and value in ("2", '"5"', "1e3", "[1]"):
                continue
            what = value if len(value) < 30 else f"{value[:8]}… ({len(value)})"
            yield Trial(f"{key}: {what}", ["fit", "-c", "CONFIG"], written(config, key, value))
            given = yaml.safe_load(value) if value[:1] == '"' else value
            words = ["fit", "-c", "CONFIG", f"--{key}", given]
            yield Trial(f"--{key} {what}", words, written(config))


def of_configs() -> Iterator[Trial]:
    """Configs that are nested, endless or no YAML."""
    laughs = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
    )
    texts = {
        "nothing": "",
        "a list": "- model",
        "a word": "model",
        "two documents": "model: {}\n---\nmodel: {}\n",
        "10,000 levels": "model: " + "[" * 10_000,
        "100 levels": "model: {unfreeze: " + "[" * 100 + "]" * 100 + "}\n",
        "100 levels of keys": "".join(" " * i + "a:\n" for i in range(100)),
        "aliases that multiply": laughs + "model: *a9\n",
        "an alias of itself": "model: &m\n  task: *m\n",
        "keys that are lists": "model: {? [a, b] : c}\n",
        "keys that are numbers": "1: 2\nmodel: {3: 4}\ntrainer: {.nan: 5}\n",
        "a tag that runs code": "model: !!python/object/apply:os.system [id]\n",
        "a set": "model: !!set {task}\n",
        "a date": "model: !!timestamp 2020-13-45\n",
        "a tab": "model:\n\ttask: x\n",
        "a control character": "model: \x07\n",
        "a surrogate": 'model: "\\ud800"\n',
        "not closed": "model: {task: 'x\n",
        "100 MB": "model: x # " + "x" * 100_000_000,
    }
    for what, text in texts.items():
        yield Trial(f"config: {what}", ["fit", "-c", "CONFIG"], text)


def of_verbs() -> Iterator[Trial]:
    """Words of verbs with a NUL, too long, of no user, or deep."""
    words = [
        ["init", "TEXT"],
        *(["init", "text-train.csv", o, "TEXT"] for o in ("--label", "--task")),
        *(["fit", "-c", "CONFIG", o, "TEXT"] for o in ("--run", "--name", "--wandb", "--seed")),
        *(["fit", "-c", "CONFIG", o, "TEXT"] for o in ("--resume", "--ckpt_path", "--test", "-c")),
        *(["fit", "-c", "CONFIG", o, "TEXT"] for o in ("--model", "--data", "--TEXT", "--model.x")),
        ["predict", "TEXT", "text-test.csv"],
        ["predict", "RUN", "TEXT"],
        *(["predict", "RUN", o, "TEXT"] for o in ("--text", "--ckpt_path", "--trainer.precision")),
        ["predict", "RUN", "text-test.csv", "--out", "TEXT"],
        *(["test", "RUN", o, "TEXT"] for o in ("--wise", "--data.test", "--ckpt_path", "--seed")),
        *(["export", "RUN", o, "TEXT"] for o in ("--wise", "--out", "--ckpt_path")),
        ["validate", "TEXT"],
        ["TEXT"],
    ]
    texts = ("a\0b", "x" * 300, "a/" * 3000, "~nobody/x", "\udcff", "[" * 2000, "", "-1", "1e400")
    config = written({**toys.cases()["text, single label"], "trainer": {"max_steps": 1}})
    for line in words:
        for text in texts:
            given = [word.replace("TEXT", text) for word in line]
            what = " ".join(line).replace("TEXT", f"{text[:8]!r} ({len(text)})")
            yield Trial(what, given, config)


def run(trial: Trial, home: Path, number: int, seconds: float) -> tuple[str, str]:
    """Runs a trial. Returns what became of it, and what it printed."""
    folder = home / "trial"
    folder.mkdir(exist_ok=True)
    config, log = folder / "x.yaml", folder / "log"
    config.write_bytes(trial.config.encode("utf-8", "surrogatepass"))
    log.write_text("")
    known = {"CONFIG": str(config), "RUN": str(home / "run")}
    words = [known.get(word, word) for word in trial.words]
    if "fit" in words and not {"--run", "--resume"} & set(words):
        words += ["--run", str(home / f"run{number}")]
    until = time.monotonic() + seconds
    child = common.start(words, log, before=limited)
    codes = common.wait_group([child], lambda: time.monotonic() > until)
    if codes is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        common.kill(child)
    printed = log.read_text(errors="replace")
    return verdict(codes, printed, home / f"run{number}"), printed


def limited() -> None:
    """Bounds the memory of a trial, and hides the way to the network."""
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))


def verdict(codes: list[int] | None, printed: str, folder: Path) -> str:
    """What became of a trial: refused, taken, or one of three kinds of harm."""
    errors = [line for line in printed.splitlines() if line.startswith("ftlight: error: ")]
    if codes is None:
        return "hang"
    if "Traceback" in printed or codes[0] not in (0, 2) or (codes[0] == 2 and not errors):
        return "traceback"
    if codes[0] == 2:
        return "refused"
    return "not finite" if folder.is_dir() and not finite(folder) else "taken"


def finite(folder: Path) -> bool:
    """Whether all weights of a run's checkpoints are finite."""
    from ftlight.training import checkpoint

    states = [checkpoint.load(file)["state_dict"] for file in folder.glob("checkpoints/*.ckpt")]
    return all(
        tensor.isfinite().all()
        for state in states
        for tensor in state.values()
        if tensor.is_floating_point()
    )


def main() -> None:
    about = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    about.add_argument("--trials", type=int, default=2000, help="0 for all")
    about.add_argument("--seed", type=int, default=0)
    about.add_argument("--parts", nargs="*", default=["configs", "verbs", "options"])
    about.add_argument("--only", default="", help="only trials with this in their words")
    about.add_argument("--seconds", type=float, default=60.0, help="after which a trial hangs")
    about.add_argument("--home", help="folder to work in")
    given = about.parse_args()
    home = Path(tempfile.mkdtemp(dir=given.home))
    common.prepare(home)
    parts = {"configs": of_configs, "verbs": of_verbs, "options": of_options}
    trials = [t for part in given.parts for t in parts[part]() if given.only in t.what]
    random.Random(given.seed).shuffle(trials)
    total = len(trials)
    trials = trials[: given.trials or None]
    found = collections.Counter[str]()
    config = written({**toys.cases()["text, single label"], "trainer": {"max_steps": 1}})
    run(Trial("a run", ["fit", "-c", "CONFIG", "--run", str(home / "run")], config), home, 0, 300)
    for number, trial in enumerate(trials, 1):
        became, printed = run(trial, home, number, given.seconds)
        found[became] += 1
        if became not in ("refused", "taken"):
            last = (printed.strip().splitlines() or [""])[-1]
            print(f"{became}: {trial.what}: {last[:160]}", flush=True)
        shutil.rmtree(home / f"run{number}", ignore_errors=True)
    print(f"{len(trials)} of {total} trials: " + ", ".join(map(str, found.items())))
    raise SystemExit(int(bool(set(found) - {"refused", "taken"})))
