"""How ``auto`` climbs its ladder: each rung is a command in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftlight.cli import backbones, child
from ftlight.cli.ladder import DATA, TUNED, Climb, config_of
from ftlight.cli.rung import Rung, measured
from ftlight.evidence import choice
from ftlight.run import folder, records
from ftlight.utils.errors import UserError
from ftlight.utils.format import span
from ftlight.utils.json_file import read
from ftlight.utils.printable import say

CHEAP = "cheap.json"
PROBED = 10  # rows of train that backbones are compared on, for each second of the budget
CHEAP_SHARE, HEAD_SHARE = 0.25, 0.4  # of the time that is left, at most
WORTH = 0.6  # share of the first training's time that another needs to be worth a try
HOPELESS = 0.1  # chance of being better, below which a try was in vain; two in a row end them
LONGER = 1.5  # times the seconds of a training that the time cut, to train it anew
SOLVED = ("TextClassification", "ImageClassification")  # tasks whose head can be solved
QUIET = ("--trainer.test", "false", "--trainer.report", "false", "--trainer.wandb", "null")


class Broken(Exception):
    """A command was stopped by a signal, whose status this is."""


def cheap(climb: Climb, names: Sequence[str]) -> Iterator[Rung]:
    """Measures models that cost little, and says which of several backbones is best.

    Args:
        climb: the ladder; the backbone is put into its options.
        names: backbones.
    """
    several = len(names) > 1
    climb.options["model.backbone"] = names[0]
    out, log = climb.home / CHEAP, climb.home / "cheap.log"
    if not out.is_file():
        drawn = round(PROBED * climb.seconds)
        limit = {"data.train_rows": str(drawn)} if several and drawn < climb.rows["train"] else {}
        words = {"backbones": ",".join(names) if several else "none", "out": str(out), **limit}
        if climb.folds:
            words["data.validation_split"] = "0.4"  # a tenth of few rows tells nothing
        seconds, began = CHEAP_SHARE * climb.left, time.monotonic()
        status = child.run("baselines", _words(climb, words), log, seconds=seconds)
        if time.monotonic() - began < seconds:  # else it was stopped for the time alone
            _check_signal(status)
    if not out.is_file():
        why = child.fault(log) if log.is_file() else ""
        say(f"  no cheap models: {why or 'they took too long'}")
        return
    found = read(out, {"models": [dict]}, "remove it")
    tables = np.load(out.with_suffix(".npy"), allow_pickle=False)
    for model, scores in zip(found["models"], tables, strict=True):
        spent = (model.get("spent") or {}).get("seconds", 0.0)
        figures = (model["score"], model["low"], model["high"], found.get("score", ""))
        rows = model.get("train_rows") or 0
        yield Rung(model["name"], "", {}, *figures, model["metrics"], scores, spent, rows=rows)
    probes = [m for m in found["models"] if ", " in m["name"] and m["name"].startswith("probe")]
    if several and probes:
        best = max(probes, key=lambda model: float(model["score"]))
        climb.options["model.backbone"] = best["name"].partition(", ")[2]


def head(climb: Climb) -> Iterator[Rung]:
    """Solves a head on the frozen backbone, if the task has one that can be.

    Of pairs that is left out: what two texts have to do with each other is not in frozen vectors
    of theirs (of MRPC a head is no better than the majority, of STS-B than words).
    """
    if (
        climb.task in SOLVED
        and "text_pair" not in config_of(climb)["data"]
        and (_is_done(climb, "head") or climb.left > climb.starting)
    ):
        options = {"model.unfreeze": "head"}
        yield train(climb, "head", "head alone, solved", options, HEAD_SHARE * climb.left)


def tuned(climb: Climb) -> Iterator[Rung]:
    """Fine-tunes by the defaults, in the time that is left."""
    for number in range(1, 1000):
        place = "fit" if number == 1 else f"fit-{number}"
        is_done = _is_done(climb, place)
        if not is_done and climb.left < 2 * climb.starting and climb.runs:
            return
        rung = train(climb, place, TUNED, {}, max(climb.left, 2 * climb.starting))
        yield rung
        # a larger budget than that of the command before may train it longer
        if not is_done or rung.ended_by != "budget" or climb.left < LONGER * rung.seconds:
            return


def tries(climb: Climb) -> Iterator[Rung]:
    """Fine-tunes with other settings, one at a time, while that may still gain."""
    first = next((rung for rung in climb.runs if rung.name == TUNED), None)
    if first is None:
        return
    run = folder.find(str(climb.home / first.run))
    learning = records.facts(run).get("learning", {})
    last: dict[str, Any] = (learning.get("stages") or [{}])[-1]
    vain = 0
    options_of = backbones.settings(climb.task, learning.get("labels", 0), last.get("lr"))
    if climb.folds:  # a depth that validation finds cannot be had on all rows
        options_of = [options for options in options_of if options != backbones.DEPTH]
    for number, options in enumerate(options_of, 1):
        has_time = _is_done(climb, f"try-{number}") or climb.left >= WORTH * first.seconds
        if not has_time or vain >= 2:
            return
        name = ", ".join(f"{key}: {value}" for key, value in options.items())
        before = climb.best
        try:
            rung = train(climb, f"try-{number}", name, options, climb.left)
        except UserError as error:  # a setting may not suit a backbone
            say(f"  {name}: {error}")
            continue
        yield rung
        vain = vain + 1 if _is_vain(rung, before) else 0


def _is_vain(rung: Rung, before: Rung) -> bool:
    """Whether a rung is surely no better than another."""
    new, old = rung.scores, before.scores
    if new is None or old is None or len(new) != len(old):
        return False
    return choice.chance_better(new, old) < HOPELESS


def train(
    climb: Climb, folder_name: str, name: str, options: Mapping[str, str], seconds: float
) -> Rung:
    """Trains a run, or reads one that is done.

    Args:
        climb: the ladder.
        folder_name: name of its folder.
        name: what it is.
        options: what it changes.
        seconds: what it may take.

    Raises:
        UserError: it failed; says how.
        Broken: it was stopped.
    """
    run = _place(climb, folder_name)
    log, began = run.with_name(f"{run.name}.log"), time.monotonic()
    if not _is_done(climb, folder_name):
        say(f"  {name}: at most {span(seconds)} ({folder.short(log)}) …")
        before = climb.used.get(run.name, 0.0)  # a run that goes on counts that, too
        most = max(1.0, (seconds + before) / (climb.folds + 1))
        words = {**options, "run": str(run), "budget": f"{most:.0f}s"}
        words |= {"folds": str(climb.folds)} if climb.folds else {"resume": "auto"}
        status = child.run("fit", [*_words(climb, words), *QUIET], log)
        took = before + time.monotonic() - began
        if (run / "checkpoints" / "last.ckpt").is_file():  # else it begins anew
            climb.used[run.name] = took
        _check_signal(status)
        if status:
            said = child.fault(log) or f"status {status}"
            raise UserError(f"{said} ({folder.short(log)})")
    else:
        runs = [run] if not climb.folds else [path.parent for path in run.glob("*/run.json")]
        costs = (records.facts(path).get("cost", {}) for path in runs)
        took = sum(float(cost.get("seconds", 0.0)) for cost in costs)
    return measured(run, name, options, took)


def _is_done(climb: Climb, name: str) -> bool:
    """Whether a run was trained to its end."""
    place = _place(climb, name)
    place = place / folder.ALL if climb.folds else place
    return records.facts(place).get("status") == "done"


def _place(climb: Climb, name: str) -> Path:
    """The folder of a run; another one beside that of an earlier command in the other way.

    With more time few rows are scored by folds, which cannot lie in the folder of one run.
    """
    place = climb.home / name
    if climb.folds and (place / "config.yaml").is_file():
        return climb.home / f"{name}-folds"
    if not climb.folds and (place / "fold-0").is_dir():
        return climb.home / f"{name}-split"
    return place


def _words(climb: Climb, options: Mapping[str, str]) -> list[str]:
    """The words of a command on the ladder's config."""
    pairs = [(f"--{key}", value) for key, value in {**climb.options, **options}.items()]
    return ["-c", str(climb.home / DATA), *(word for pair in pairs for word in pair)]


def _check_signal(status: int) -> None:
    """Raises Broken if a command was stopped."""
    if status in (75, 130, 143):
        raise Broken(status)
