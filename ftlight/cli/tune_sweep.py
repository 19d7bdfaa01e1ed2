"""What a tune varies, and of which config: a sweep, checked against the options there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.cli import command, config, values
from ftlight.cli.classes import find_class
from ftlight.cli.command import Words
from ftlight.cli.options import Option
from ftlight.cli.tune_training import QUIET
from ftlight.tune import defaults, space
from ftlight.tune.space import Parameter, Sweep
from ftlight.utils.errors import UserError, unknown
from ftlight.utils.foreign import foreign
from ftlight.utils.paths import anchor
from ftlight.utils.yaml_file import parse, read_yaml


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

    @property
    def seed(self) -> int:
        """Its seed; 0 if it gives none."""
        seed = self.values.get("seed_everything")
        return seed if isinstance(seed, int) and not isinstance(seed, bool) else 0

    @property
    def model(self) -> dict[str, Any]:
        """The values of the model's options, by their own names."""
        known = self.values.items()
        return {n.removeprefix("model."): value for n, value in known if n.startswith("model.")}

    @property
    def task(self) -> Any:
        """Class of the task."""
        return find_class(self.expanded["model"]["class_path"])


def resolve(fit: Sequence[str]) -> Config:
    """The config of a command line of ``fit``, checked as that does.

    Raises:
        UserError: it is wrong.
    """
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


def with_rate(found: Config) -> Config:
    """A config with the default learning rate as its own, if it gives none and has one."""
    options = found.model
    if options.get("lr") is not None or defaults.is_solved(options):
        return found
    # of an instance that is not made: the rate needs the backbone's config alone
    task = found.task
    rate = task.default_lr(task.__new__(task), options["backbone"])
    return found._replace(values={**found.values, "model.lr": rate})


def default(found: Config) -> Sweep:
    """What varies if no sweep is given, around a config that has its learning rate."""
    known = {option.name: option.default for option in found.known["model"]}
    options, thaws = found.model, found.task.default_unfreeze == "gradual"
    return Sweep(defaults.space(options, known, options.get("lr") or 0.0, thaws))


def read(path: Path, found: Config) -> Sweep:
    """Reads what varies, checked against the options of a config.

    Raises:
        UserError: a key or value is none of a sweep, or an option cannot vary; says where.
    """
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


def method(sweep: Sweep) -> str:
    """How settings are drawn; at random of a grid that has ranges, which has no end.

    >>> method(Sweep([Parameter("model.lr", None, 1e-5, 1e-3)], "grid"))
    'random'
    """
    if sweep.method == "grid" and any(p.choices is None for p in sweep.parameters):
        return "random"
    return sweep.method


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
