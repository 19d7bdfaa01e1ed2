"""The command line of a tune: what it asks for, checked before any trial begins."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from ftlight.cli import checks, command, config, values
from ftlight.cli.classes import find_class
from ftlight.cli.command import Words
from ftlight.cli.options import Option
from ftlight.cli.trials import QUIET, Asked
from ftlight.run import folder
from ftlight.run.budget import seconds_of
from ftlight.tune import defaults, space, study
from ftlight.tune.space import GOALS, Parameter, Sweep
from ftlight.utils.atomic import read_json, write_json, writing
from ftlight.utils.errors import UserError, unknown
from ftlight.utils.foreign import foreign
from ftlight.utils.paths import anchor, user_path
from ftlight.utils.yaml_file import parse, read_yaml

TRIALS = 20
RECORD = "space.json"  # what a tune is of
KEEP = ("best", "all")
ENDLESS = float("inf")


class Config(NamedTuple):
    """The config that a tune begins from.

    Attributes:
        expanded: in ``class_path`` form.
        known: options of its sections.
        values: the value of each option, by dotted name: that of the config, else the default.
    """

    expanded: Mapping[str, Any]
    known: Mapping[str, Sequence[Option]]
    values: Mapping[str, Any]


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
    found = _config(fit)
    sweep = _sweep(words, found)
    if sweep.prunes is False and "prune" not in words.own:
        prunes = False
    trials = trials or sweep.trials
    own = study.own_values(sweep.parameters, found.values)
    method = _method(sweep)
    seed = _seed(found)
    home = _home(words)
    _settle(home, found, sweep)
    return Asked(
        home,
        fit,
        sweep.parameters,
        own,
        method,
        sweep.metric,
        GOALS.get(sweep.goal, ""),
        seed,
        trials or (TRIALS if budget == ENDLESS and method != "grid" else ENDLESS),
        budget,
        words.begun + budget,
        seeds or 3,
        jobs or 1,
        prunes,
        keep,
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


def _config(fit: Sequence[str]) -> Config:
    """Checks the config as ``fit`` does."""
    again = Words("fit", [*fit, *QUIET])
    given = dict(again.options)
    expanded, _ = command.resolve(again)
    known = config.options_of(expanded)
    found: dict[str, Any] = {}
    for section, options in known.items():
        inside = expanded[section]
        inside = inside if section == "trainer" else inside["init_args"]
        for option in options:
            found[f"{section}.{option.name}"] = inside.get(option.name, option.default)
    for name, text in given.items():
        found[name] = parse(text, f"--{name}")[0]
    found.setdefault("seed_everything", expanded.get("seed_everything"))
    return Config(expanded, known, found)


def _method(sweep: Sweep) -> str:
    """How settings are drawn; at random of a grid that has ranges, which has no end."""
    if sweep.method == "grid" and any(p.choices is None for p in sweep.parameters):
        return "random"
    return sweep.method


def _seed(found: Config) -> int:
    seed = found.values.get("seed_everything")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else 0


def _sweep(words: Words, found: Config) -> Sweep:
    """What varies, checked against the options that there are."""
    if "sweep" not in words.own:
        return Sweep(_default(found))
    path = user_path(words.own["sweep"], "sweep")
    raw, places = read_yaml(path)
    sweep = space.read(raw, places, str(path))
    anchored = [_anchored(parameter, path.absolute().parent) for parameter in sweep.parameters]
    names = [parameter.name for parameter in anchored]
    for parameter in anchored:
        where = f"{places.get(f'parameters.{parameter.name}', path)}: "
        if names.count(parameter.name) > 1:
            raise UserError(f"{where}{parameter.name} is given twice")
        if fault := _fault(parameter, found):
            raise UserError(where + fault)
    return sweep._replace(parameters=anchored)


def _anchored(parameter: Parameter, home: Path) -> Parameter:
    """A parameter with the files that its values name, as a config has them."""
    if parameter.choices is None:
        return parameter
    section, _, key = parameter.name.partition(".")
    return parameter._replace(choices=[anchor(section, key, v, home) for v in parameter.choices])


def _fault(parameter: Parameter, found: Config) -> str:
    """What is wrong with a parameter; empty if nothing is."""
    name = parameter.name
    if refusal := space.refusal(name):
        return refusal
    options = {f"{s}.{o.name}": o for s, known in found.known.items() for o in known}
    base = ".".join(name.split(".")[:2])
    if base not in options:
        ours = foreign(name.rpartition(".")[2], [option.rpartition(".")[2] for option in options])
        if ours:
            return f"no option {name}; ftlight calls it {ours}"
        return unknown("no option", name, options, "options")
    if base != name:
        return ""
    for value in parameter.examples():
        if wrong := values.fault(options[name].full_type, value):
            return f"{name}: {wrong}"
    return ""


def _default(found: Config) -> list[Parameter]:
    """What varies if no sweep is given."""
    task: Any = find_class(found.expanded["model"]["class_path"])
    options = {
        name.removeprefix("model."): value
        for name, value in found.values.items()
        if name.startswith("model.")
    }
    known = {option.name: option.default for option in found.known["model"]}
    rate = options.get("lr")
    if rate is None and not defaults.is_solved(options):
        # of an instance that is not made: the rate needs the backbone's config alone
        rate = task.default_lr(task.__new__(task), options["backbone"])
        found.values["model.lr"] = rate  # type: ignore[index]
    return defaults.space(options, known, rate or 0.0, task.default_unfreeze == "gradual")


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
    return [f"--budget={max(1.0, asked.until - time.monotonic()):.1f}s"]
