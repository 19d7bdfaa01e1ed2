"""What a tune may vary: the parameters of a sweep in the format of W&B, by dotted option names."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.utils.errors import UserError, unknown

TOP = ("parameters", "method", "metric", "early_terminate", "run_cap", "name", "description")
IGNORED = ("program", "command", "project", "entity")  # for W&B's own agents
METHODS = ("bayes", "random", "grid")
KEYS = ("value", "values", "min", "max", "q", "distribution", "parameters")
CHOICES = ("constant", "categorical")
LOGS = {"log_uniform", "log_uniform_values", "q_log_uniform", "q_log_uniform_values"}
EXPONENTS = {"log_uniform", "q_log_uniform"}
RANGES = {"int_uniform", "uniform", "q_uniform", *LOGS}
OWN = ("trainer.run", "trainer.resume", "trainer.name", "trainer.test", "trainer.report")
# What decides which rows choose: scores on others could not be compared.
ROWS = (
    *("data.validation", "data.validation_split", "data.split_seed"),
    *("data.test", "data.test_split", "data.group"),
)


class Parameter(NamedTuple):
    """An option that varies.

    Attributes:
        name: the option, such as ``model.lr``.
        choices: values to choose from; None of a range. One alone is always taken.
        low: lower end of a range.
        high: upper end.
        log: whether the range is even on a logarithmic scale.
        whole: whether its values are whole numbers.
        step: of which multiple they are; None for any.
    """

    name: str
    choices: Sequence[Any] | None
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    step: float | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.choices) == 1 if self.choices is not None else self.low == self.high

    def holds(self, value: Any) -> bool:
        """Whether a value is one of its own."""
        if self.choices is not None:
            return as_json(value) in map(as_json, self.choices)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_exact = (self.step is None and not self.whole) or self.exact(value) == value
        return is_number and self.low <= value <= self.high and is_exact

    def exact(self, value: float) -> float:
        """The nearest value that it has, in four digits if nothing tells how many."""
        if self.whole:
            return round(value / (self.step or 1)) * int(self.step or 1)
        if self.step is not None:
            return _short(round(value / self.step) * self.step)
        short = float(f"{value:.4g}")
        return short if self.low <= short <= self.high else value

    def examples(self) -> Sequence[Any]:
        """Values that tell whether the option takes all of them."""
        return self.choices if self.choices is not None else [self.low, self.high]


class Sweep(NamedTuple):
    """What a sweep file asks for.

    Attributes:
        parameters: options that vary.
        method: how settings are drawn: bayes, random or grid.
        metric: name of the score; empty for the task's own.
        goal: maximize or minimize; empty for the task's own.
        trials: number of trials; None if it does not say.
        prunes: whether bad trials are cut short; None if it does not say.
    """

    parameters: Sequence[Parameter]
    method: str = "bayes"
    metric: str = ""
    goal: str = ""
    trials: int | None = None
    prunes: bool | None = None


def read(sweep: Mapping[str, Any], places: Mapping[str, str], file: str) -> Sweep:
    """Reads a sweep in the format of W&B.

    Args:
        sweep: the mapping of the file.
        places: dotted key to ``file:line``.
        file: its name, for errors.

    Raises:
        UserError: a key or value is none of a sweep; says where.
    """
    for key in sweep:
        if key not in (*TOP, *IGNORED):
            raise UserError(f"{_at(places, str(key), file)}{unknown('no key', key, TOP, 'keys')}")
    method = str(sweep.get("method", "bayes"))
    if method not in METHODS:
        known = unknown("no method", method, METHODS, "methods")
        raise UserError(_at(places, "method", file) + known)
    given = sweep.get("parameters")
    if not isinstance(given, Mapping) or not given:
        raise UserError(f"{_at(places, 'parameters', file)}parameters: name the options that vary")
    found = list(_parameters(given, places, file, "parameters", ""))
    metric = sweep.get("metric") or {}
    if not isinstance(metric, Mapping) or metric.get("goal", "") not in ("", *GOALS):
        where = _at(places, "metric", file)
        raise UserError(f"{where}metric: expected {{name: …, goal: maximize or minimize}}")
    trials, early = sweep.get("run_cap"), sweep.get("early_terminate", "")
    if trials is not None and not (isinstance(trials, int) and trials > 0):
        raise UserError(f"{_at(places, 'run_cap', file)}run_cap: expected a number of trials")
    prunes = None if early == "" else early is not None
    name, goal = str(metric.get("name", "")), str(metric.get("goal", ""))
    return Sweep(found, method, name, goal, trials, prunes)


GOALS = {"maximize": "max", "minimize": "min"}


def _at(places: Mapping[str, str], key: str, file: str) -> str:
    """The place of a key, or of what it is in, ready to stand before a message."""
    while key and key not in places:
        key = key.rpartition(".")[0]
    return f"{places.get(key, file)}: "


def _parameters(
    given: Mapping[str, Any], places: Mapping[str, str], file: str, key: str, prefix: str
) -> Iterator[Parameter]:
    for word, spec in given.items():
        name, here = f"{prefix}{word}", f"{key}.{word}"
        where = f"{_at(places, here, file)}{name}: "
        if not isinstance(spec, Mapping):
            raise UserError(f"{where}expected value, values, or min and max, got {as_json(spec)}")
        for inner in spec:
            if inner not in KEYS:
                raise UserError(where + unknown("no key", inner, KEYS, "keys"))
        if "parameters" in spec:
            if not isinstance(spec["parameters"], Mapping):
                raise UserError(f"{where}parameters: expected options")
            inside = spec["parameters"]
            yield from _parameters(inside, places, file, f"{here}.parameters", f"{name}.")
        else:
            yield parameter(name, spec, where)


def parameter(name: str, spec: Mapping[str, Any], where: str = "") -> Parameter:
    """Reads one parameter of a sweep.

    Args:
        name: the option.
        spec: ``value``, ``values``, or ``min`` and ``max``, with the distribution if need be.
        where: what stands before an error.

    Raises:
        UserError: it is none of these.

    >>> parameter("model.lr", {"min": 1e-5, "max": 1e-3, "distribution": "log_uniform_values"}).log
    True
    """
    kind = str(spec.get("distribution") or "")
    if "value" in spec or "values" in spec:
        values = [spec["value"]] if "value" in spec else spec["values"]
        if kind not in ("", *CHOICES):
            raise UserError(f"{where}distribution {kind} has min and max, not values")
        if not isinstance(values, list) or not values:
            raise UserError(f"{where}values: expected a list such as [1e-5, 1e-4]")
        return Parameter(name, list({as_json(value): value for value in values}.values()))
    low, high = spec.get("min", math.nan), spec.get("max", math.nan)
    if not (_is_number(low) and _is_number(high)) or low > high:
        raise UserError(f"{where}give value, values, or min and max, numbers that rise")
    if kind not in ("", *RANGES):
        # those whose ends are exponents are not what somebody means who mistypes one
        known = [*sorted(RANGES - EXPONENTS), *CHOICES]
        known = [name for name in known if "log" in name or "log" not in kind.lower()]
        raise UserError(where + unknown("no distribution", kind, known, "distributions"))
    return _range(name, kind, low, high, spec.get("q"), where)


def _range(name: str, kind: str, low: float, high: float, q: Any, where: str) -> Parameter:
    whole = kind == "int_uniform" or (not kind and isinstance(low, int) and isinstance(high, int))
    if kind in EXPONENTS:  # W&B's ends are exponents of e there
        if high > 700:
            raise UserError(
                f"{where}the ends of {kind} are exponents of e; {kind}_values has values"
            )
        low, high = math.exp(low), math.exp(high)
    if kind in LOGS and low <= 0:
        raise UserError(f"{where}min: a logarithmic scale begins above 0")
    if q is None and kind.startswith("q_"):
        q = 1
    if q is not None and not (_is_number(q) and q > 0):
        raise UserError(f"{where}q: expected a number above 0, got {q}")
    step = 1 if q is None and whole else q
    if step is not None:  # the multiples of it that lie within the ends
        whole = float(step).is_integer()
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if first > last:
            raise UserError(f"{where}no multiple of {step} lies between {low} and {high}")
        low, high = (int(n * step) if whole else _short(n * step) for n in (first, last))
    return Parameter(name, None, low, high, kind in LOGS, whole, q)


def _short(value: float) -> float:
    """A multiple of a step without what binary fractions add to it: 0.3 is 3 times 0.1."""
    return float(f"{value:.12g}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def as_json(value: Any) -> str:
    """A value as text that is the same for the same value."""
    return json.dumps(value, ensure_ascii=False)


def as_text(value: Any) -> str:
    """A value as the command line takes it.

    >>> as_text("all"), as_text(1e-5), as_text([{"train": "all"}]), as_text(None)
    ('all', '1e-05', '[{"train": "all"}]', 'null')
    """
    return value if isinstance(value, str) else as_json(value)


def words(settings: Mapping[str, Any]) -> list[str]:
    """Settings as options of a command line."""
    return [f"--{name}={as_text(value)}" for name, value in settings.items()]


def refusal(name: str) -> str:
    """Why an option cannot vary; empty if it can."""
    if name in OWN:
        return f"{name} cannot vary: each trial has its own"
    if name in ROWS:
        return f"{name} cannot vary: scores on other rows cannot be compared"
    if name == "seed_everything":
        return "seed_everything cannot vary: tune --seeds N trains the best settings on more seeds"
    return ""
