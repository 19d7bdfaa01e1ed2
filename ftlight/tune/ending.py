"""What a tune found: its trials in order, the best, and what the choice among many flatters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.metrics.seeds import Difference
from ftlight.tune.space import as_text
from ftlight.utils.errors import shortened
from ftlight.utils.format import span, table


class Tried(NamedTuple):
    """A trial that has ended, or runs.

    Attributes:
        number: its number; 0 is the config as it is.
        state: complete, pruned, failed or running.
        score: its best validation score, as the task has it; None if there is none.
        seconds: what it took.
        settings: options that it changed.
        why: why it failed.
    """

    number: int
    state: str
    score: float | None
    seconds: float
    settings: Mapping[str, Any]
    why: str = ""


def lines(trials: Sequence[Tried], monitor: str, names: Sequence[str]) -> str:
    """The trials as a table, in the order given.

    Args:
        trials: the trials.
        monitor: name of the score.
        names: options that vary.
    """
    short = [name.rpartition(".")[2] for name in names]
    heads = short if len(set(short)) == len(short) else list(names)
    found = [["trial", monitor, "time", "", *heads]]
    for trial in trials:
        value = "" if trial.score is None else f"{trial.score:.4f}"
        state = {"complete": ""}.get(trial.state, trial.state)
        if trial.number == 0:
            state = f"{state} as it is".strip()
        cells = [_cell(trial.settings[name]) if name in trial.settings else "" for name in names]
        found.append([f"{trial.number}", value, span(trial.seconds), state, *cells])
    return table(found)


def _cell(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else as_text(value)
    return shortened(text, 24)


def is_better(found: Difference | None, trials: int) -> bool:
    """Whether the winner is better than the config as it is, on the rows that chose it.

    The best of many is better by chance, too, so that its p-value counts as often as there were
    trials to choose from (Bonferroni).

    >>> found = Difference(0.02, 0.001, 0.04, 0.04, 0.04, None)
    >>> is_better(found, 1), is_better(found, 5), is_better(None, 5)
    (True, False, True)
    """
    return found is None or (found.gain > 0 and min(1.0, found.p * trials) < 0.05)


def verdict(name: str, found: Difference | None, trials: int) -> str:
    """What the comparison with the config as it is says, in a line.

    Args:
        name: the best trial.
        found: how much better its validation rows are; None if that is not known.
        trials: trials to choose from.
    """
    if found is None:
        return f"{name} was the best of {trials}; the config as it is was not measured"
    by = f"{found.gain:+.4f} ({found.low:+.4f} to {found.high:+.4f}) on validation rows"
    if trials > 1:
        by += f", p {min(1.0, found.p * trials):.2g} for the best of {trials}"
    if is_better(found, trials):
        return f"{name} is better than the config as it is: {by}"
    return f"{name} is within noise of the config as it is: {by}; the config is kept as it is"


def note(trials: int, is_tested: bool) -> str:
    """What the scores of a chosen model are worth."""
    said = f"the validation score of the best of {trials} trials flatters it: these rows chose it"
    rest = "; the test's did not" if is_tested else "; measure it on rows that chose nothing"
    return said + rest if trials > 1 else ""
