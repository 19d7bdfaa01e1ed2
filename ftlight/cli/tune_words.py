"""The command line of a tune: what it asks for, checked before any trial begins."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from ftlight.cli import checks, command, tune_sweep
from ftlight.cli.command import Words
from ftlight.cli.tune_sweep import Config
from ftlight.run import folder
from ftlight.run.budget import seconds_of
from ftlight.tune import sampling
from ftlight.tune.asked import Asked
from ftlight.tune.space import GOALS, Sweep
from ftlight.utils.atomic import read_json, write_json, writing
from ftlight.utils.errors import UserError, unknown
from ftlight.utils.paths import user_path

TRIALS = 20
RECORD = "space.json"  # what a tune is of
KEEP = ("best", "all")
ENDLESS = float("inf")


def read(words: Words) -> Asked:
    """Reads what a tune is asked for, and makes its folder.

    Raises:
        UserError: a word, the config or the sweep is wrong, or the folder holds something else.
    """
    _check(words)
    checks.names("tune", words.options, {})
    trials, seeds, jobs = (number(words, name) for name in ("trials", "seeds", "jobs"))
    budget = _budget(words)
    prunes = _word(words, "prune", ("true", "false")) == "true"
    keep = _word(words, "keep", KEEP)
    fit = fit_words(words)
    found = tune_sweep.resolve(fit)
    if "sweep" in words.own:
        sweep = tune_sweep.read(user_path(words.own["sweep"], "sweep"), found)
    else:
        found = tune_sweep.with_rate(found)
        sweep = tune_sweep.default(found)
    if sweep.prunes is False and "prune" not in words.own:
        prunes = False
    trials = trials or sweep.trials
    method = tune_sweep.method(sweep)
    home = _home(words)
    _settle(home, found, sweep)
    return Asked(
        home=home,
        fit=fit,
        parameters=sweep.parameters,
        own=sampling.own_values(sweep.parameters, found.values),
        method=method,
        metric=sweep.metric,
        goal=GOALS.get(sweep.goal, ""),
        seed=found.seed,
        trials=trials or (TRIALS if budget == ENDLESS and method != "grid" else ENDLESS),
        budget=budget,
        until=words.begun + budget,
        seeds=seeds or 3,
        jobs=jobs or 1,
        prunes=prunes,
        keep=keep,
    )


def _check(words: Words) -> None:
    if words.alone:
        raise UserError(f"{words.alone[0]}: unexpected; a config is given with -c")
    if command.in_group():
        raise UserError(
            "tune starts the processes of its trials itself: start it once on each machine, with"
            " the same --run DIR (of SLURM a job array)"
        )


def number(words: Words, name: str) -> int | None:
    """The number that an option of the verb gives; None if it is not given."""
    return int(words.own[name]) if name in words.own else None


def _budget(words: Words) -> float:
    if "budget" not in words.own:
        return ENDLESS
    found = seconds_of(words.own["budget"])
    if not found:
        raise UserError(f"--budget: expected a time such as 90s, 20m or 2h: {words.own['budget']}")
    return found


def _word(words: Words, name: str, known: Sequence[str]) -> str:
    given = words.own.get(name, known[0])
    if given not in known:
        raise UserError(unknown(f"--{name}: no", given, known, "words"))
    return given


def fit_words(words: Words) -> list[str]:
    """The command line of ``fit`` for the config as it is."""
    given = [f"--{section}={name}" for section, name in words.classes.items()]
    given += [f"--{name}={value}" for name, value in words.options.items()]
    files = [word for path in words.configs for word in ("-c", str(Path(path).absolute()))]
    return [*files, *given]


def _home(words: Words) -> Path:
    """The folder of the tune, which is made if need be."""
    if "run" not in words.own:
        again = SimpleNamespace(configs=words.configs, classes=words.classes)
        name = words.options.get("trainer.name") or command.name_of(again)  # type: ignore[arg-type]
        return folder.make(None, f"{name}-tune")
    home = user_path(words.own["run"], "run").absolute()
    if (home / "config.yaml").is_file():
        raise UserError(f"{home} is a run; give another --run DIR for a tune")
    strange = home.is_dir() and any(home.iterdir()) and not (home / RECORD).is_file()
    if strange and not (home / "claims").is_dir():
        raise UserError(f"{home} exists and is no tune; give another --run DIR, or move it away")
    with writing(home):
        (home / "claims").mkdir(parents=True, exist_ok=True)
    return home


def _settle(home: Path, found: Config, sweep: Sweep) -> None:
    """Notes what a tune is of, or checks that it is of the same.

    Raises:
        UserError: it is of another config or sweep.
    """
    text = json.dumps([found.expanded, sorted(found.values.items())], default=str, sort_keys=True)
    parameters = [parameter._asdict() for parameter in sweep.parameters]
    record = {
        "config": hashlib.sha256(text.encode()).hexdigest(),
        "method": sweep.method,
        "parameters": json.loads(json.dumps(parameters)),
    }
    known = read_json(home / RECORD)
    if known and known != record:
        what = "config" if known.get("config") != record["config"] else "sweep"
        raise UserError(f"{home} is a tune of another {what}; give another --run DIR")
    if not known:
        with writing(home / RECORD):
            write_json(home / RECORD, record)


def again(words: Words, home: Path) -> list[str]:
    """The command line that goes on with a tune, without budget and jobs."""
    own = [f"--{n}={v}" for n, v in words.own.items() if n not in ("run", "jobs", "budget")]
    return [*fit_words(words), *own, f"--run={home}"]


def threads(jobs: int) -> None:
    """Shares the processor among trials at once, unless the user has done so."""
    if jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))


def remaining(asked: Asked) -> list[str]:
    """The budget of a process that begins now."""
    if asked.budget == ENDLESS:
        return []
    return [f"--budget={max(1.0, asked.left):.1f}s"]
