"""The last sections: what a run cost, its config, where it comes from, how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.report.numbers import number
from ftlight.report.reading import Files, mapping
from ftlight.run import folder as runs
from ftlight.utils.format import count, size, span


class About(NamedTuple):
    """Where a run comes from.

    Attributes:
        facts: what is known of it, by name.
        versions: versions of what it was trained with.
        digests: SHA-256 of each file of data.
        command: the command that made it.
        repeat: the command that makes it again.
        config: its config.
    """

    facts: Sequence[tuple[str, str]]
    versions: Sequence[tuple[str, str]]
    digests: Sequence[tuple[str, str]]
    command: str
    repeat: str
    config: str


def cost(run: Files) -> list[tuple[str, str]]:
    """What a run took, by name."""
    facts, found = run.facts, list[tuple[str, str]]()
    spent: Mapping[str, Any] = facts.get("cost", {})
    if "seconds" in spent:
        found.append(("time, with the test", span(spent["seconds"])))
    elif seconds := _seconds(run, "seconds") + _seconds(run, "validation_seconds"):
        found.append(("time of epochs and validations", span(seconds)))
    if "processor" in spent:
        found.append(("time of processors", span(spent["processor"])))
    if facts.get("memory"):
        found.append(("peak memory of a process or its GPU", size(facts["memory"])))
    if "joules" in spent:
        found.append(("energy, estimated", f"{energy(spent['joules'])} ({spent.get('way', '')})"))
    if "weights" in facts:
        found.append(("weights that were trained", count(facts["weights"])))
    if "steps" in facts:
        found.append(("optimizer steps", number(facts["steps"])))
    return [*found, *_speeds(run)]


def energy(joules: float) -> str:
    """Energy in words.

    >>> energy(132.1), energy(7.2e6)
    ('132 J', '2.00 kWh')
    """
    return f"{joules / 3.6e6:.2f} kWh" if joules >= 3.6e5 else f"{joules:,.0f} J"


def _seconds(run: Files, column: str) -> float:
    return sum(map(_float, (row.get(column, "") for row in run.epochs)))


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _speeds(run: Files) -> list[tuple[str, str]]:
    """Rows per second in the first and in the fastest epoch: stored activations show here."""
    speeds = [_float(row.get("rows_per_second", "")) for row in run.epochs]
    speeds = [speed for speed in speeds if speed]
    if not speeds:
        return []
    found = [("rows per second in the first epoch", number(speeds[0]))]
    if len(speeds) > 1:
        found.append(("in the last one", number(speeds[-1])))
    stored = [str(i) for i, s in enumerate(run.learning.get("stages", []), 1) if s.get("stored")]
    if stored:
        text = f"run once, then read from the store: stage {', '.join(stored)}"
        found.append(("frozen layers", text))
    return found


def about(run: Files) -> About:
    """Where a run comes from, and how to repeat it."""
    facts, place = run.facts, runs.short(run.folder)
    git, machine = mapping(facts.get("git")), mapping(facts.get("machine"))
    known = [
        ("started", facts.get("started")),
        ("status", facts.get("status")),
        ("seed", facts.get("seed")),
        ("backbone", facts.get("backbone")),
        ("begun with the weights of", facts.get("from")),
        ("commit", git.get("commit") and f"{git['commit']}{' and changes' * bool(git['dirty'])}"),
        ("machine", machine and f"{machine.get('cores')} cores, {machine.get('system')}"),
        ("rows of train", mapping(run.learning.get("rows")).get("train")),
        ("labels", run.learning.get("labels") or None),
        ("resumed", len(facts.get("resumed", [])) or None),
    ]
    command = " ".join(map(shlex.quote, facts.get("command", [])))
    return About(
        [(name, number(value)) for name, value in known if value not in (None, "", {})],
        [(name, str(version)) for name, version in facts.get("versions", {}).items()],
        [(name, digest) for name, digest in facts.get("data_sha256", {}).items() if digest],
        command,
        f"python -m ftlight fit -c {shlex.quote(f'{place}/config.yaml')}",
        runs.as_yaml(run.config),
    )
