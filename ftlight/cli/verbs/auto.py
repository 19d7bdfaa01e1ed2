"""``auto``: from data alone to the best model that a time limit allows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ftlight.cli import asked, baseline_runs, checks, climb, draft, guess
from ftlight.cli import summit as ending
from ftlight.cli.climb import Broken
from ftlight.cli.command import Words, in_group
from ftlight.cli.config import TOP
from ftlight.cli.guess import Guess
from ftlight.cli.ladder import DATA, Climb
from ftlight.cli.rung import Rung
from ftlight.data import findings
from ftlight.evidence import goal
from ftlight.models import places
from ftlight.run import budget
from ftlight.run import folder as runs
from ftlight.utils.errors import UserError
from ftlight.utils.format import span
from ftlight.utils.json_file import ANY, is_there, read
from ftlight.utils.paths import user_path
from ftlight.utils.printable import say
from ftlight.utils.yaml_file import parse

# Faults of data that are mended without a question; what was left out is printed.
MENDS: Mapping[str, Mapping[str, str]] = {
    "TextClassification": {"data.on_empty_text": "skip", "data.on_missing_label": "skip"},
    "ImageClassification": {"data.on_bad_image": "skip"},
    "CausalLM": {"data.on_bad_chat": "skip"},
}
PLAIN = ("train", "data", "dataset", "all")  # names of files that say nothing: their folder does
SHOWN = 12  # findings of the data that are printed
FOLDS, FEW = 5, 500  # folds, and rows below which they score a run
FOLDING = 180.0  # seconds of a budget from which there is time for folds
LEAST = 20.0  # seconds of a budget


def run(words: Words) -> tuple[int, str]:
    """Climbs, tests the best, and writes a page. Returns the status and what to print.

    Raises:
        UserError: the file does not read, an option is wrong, or no run could be made.
    """
    checks.names("auto", [name for name in words.options if name.partition(".")[0] not in TOP], {})
    if len(words.alone) != 1:
        raise UserError("auto needs one file or folder: python -m ftlight auto tickets.csv")
    if in_group():
        raise UserError("auto: start it as one process, which starts each training")
    seconds = _seconds(words.own.get("budget", "10m"))
    aim = goal.read(words.own["goal"]) if "goal" in words.own else None
    names = baseline_runs.names(words.own.get("backbones", ""))
    for name in names:
        places.locate(name)  # whether there is such a folder
    told = guess.guess(words.alone[0], words.own.get("label"), words.own.get("task"))
    home = _home(words, told)
    config, known = _begun(home, told)
    names = asked.settle(home, told, words.options, names)
    say(f"data   {told.files['train']}: {draft.summary(told)}")
    column = config["data"].get("label")
    label = f", label {column}" if isinstance(column, str) else ""
    others = "--task T, --label COLUMN" if label else "--task T"
    place = runs.short(home / DATA)
    say(f"task   {told.task}{label} (another: {others}; the config: {place})")
    rows = _rows(told, config["data"])
    options = {"data.on_leak": "drop", **MENDS.get(told.task, {}), "trainer.name": home.name}
    options |= words.options
    deadline = words.begun + seconds - known.get("seconds", 0.0)
    is_small = told.content.rows < FEW and _can_fold(told)
    folds = FOLDS if is_small and seconds >= FOLDING else 0
    if folds:
        rows = {**rows, "train": rows["train"] + rows["validation"], "validation": 0}
        say(f"folds  {folds}: of fewer than {FEW} rows, each is scored by a model that did not")
        say("       train on it; the model that is kept trains on all of them")
    elif is_small:
        say(f"folds  none: {rows['validation']:,} validation rows choose, and tell little; from")
        say(f"       --budget {span(FOLDING)} on all rows do, each by a model that did not see it")
    used = dict(known.get("used", {}))
    ladder = Climb(home, told.task, options, deadline, seconds, rows, folds, aim, used=used)
    left = f"{span(max(0.0, deadline - words.begun))} of {span(seconds)} left" if known else ""
    say(f"time   {left or span(seconds)} with the test, from now")
    try:
        why = _climb(ladder, names)
    except Broken as stopped:
        return stopped.args[0], ""  # as a job that is queued again
    return 0, ending.finish(ladder, why, words.begun, known)


def _climb(ladder: Climb, names: list[str]) -> str:
    """Climbs rung by rung, a line each. Returns why it ended there."""
    try:
        for step in (climb.cheap(ladder, names), climb.head(ladder), climb.tuned(ladder)):
            for rung in step:
                _take(ladder, rung)
            if why := ladder.is_over:
                return why
        for rung in climb.tries(ladder):
            _take(ladder, rung)
            if why := ladder.is_over:
                return why
    except KeyboardInterrupt:
        return "stopped"
    except Broken as stopped:
        if stopped.args[0] != ending.INTERRUPTED:
            raise
        return "stopped"
    return ""


def _take(ladder: Climb, rung: Rung) -> None:
    """Puts a rung onto the ladder, and prints it."""
    is_first = bool(rung.run) and not ladder.runs
    ladder.rungs.append(rung)
    mark = "→ best so far" if rung.run and ladder.best is rung else ""
    interval = f"{rung.score:.4f} ({rung.low:.4f} to {rung.high:.4f})"
    rows = f"{rung.rows:,} rows" if rung.rows and rung.rows < ladder.rows["train"] * 0.8 else ""
    parts = [f"{rung.name:38.38}", rung.score_name, interval, span(rung.seconds), rows, mark]
    say("  ".join(part for part in parts if part))
    if is_first:
        _say_findings(ending.place_of(ladder, rung))


def _say_findings(run: Path) -> None:
    """What is to be known of the data, and what was mended."""
    known = findings.read(run / "findings.jsonl")
    found = [f for f in known if f.level != "know" or f.kind == "read"]
    for finding in found[:SHOWN]:
        say(f"       data: {finding.line}")
    if len(found) > SHOWN:
        say(f"       and {len(found) - SHOWN} more: {runs.short(run / 'findings.jsonl')}")


def _seconds(text: str) -> float:
    seconds = budget.seconds_of(text)
    if seconds is None or seconds < LEAST:
        raise UserError(f"--budget: expected a time from {LEAST:.0f}s on, such as 10m, got {text}")
    return seconds


def _home(words: Words, told: Guess) -> Path:
    """The folder of the ladder, which is made."""
    if given := words.own.get("run"):
        home = user_path(given, "run").absolute()
    else:
        path = Path(told.files["train"]).absolute()
        name = path.name.split(".")[0]
        name = path.parent.name if name.lower() in PLAIN and path.parent.name else name
        home = Path("runs").absolute() / f"auto-{name}"
    if home.is_dir() and any(home.iterdir()) and not (home / ending.NAME).is_file():
        if not (home / DATA).is_file():
            raise UserError(f"{home} exists and is not of auto; give another --run DIR")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{home} cannot be created ({error.strerror}); give another with --run DIR"
        ) from None
    return home


def _begun(home: Path, told: Guess) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes the config of the ladder; returns it, and what is known if it was begun before.

    Raises:
        UserError: it was begun with other data.
    """
    text, path = draft.draft(told), home / DATA
    config = parse(text, str(path))[0]
    for split, name in told.files.items():
        config["data"][split] = str(Path(name).absolute())
    made = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    if path.is_file() and path.read_text(encoding="utf-8") != made:
        raise asked.other(home)
    path.write_text(made, encoding="utf-8")
    file = home / ending.NAME
    known = {"seconds": float, "used": {ANY: float}}
    return config, read(file, known) if is_there(file) else {}


def _can_fold(told: Guess) -> bool:
    """Whether rows can be dealt into folds: there is no validation file, and rows stand alone."""
    content = told.content
    if "validation" in (*told.files, *content.splits) or told.task == "Retrieval":
        return False
    return min(content.labels.values(), default=FOLDS) > 1


def _rows(told: Guess, data: Mapping[str, Any]) -> dict[str, int]:
    """About how many rows each split will have; 0 of one that there is not.

    Args:
        told: what was told of the file.
        data: options of the data as the config has them.
    """
    rows = {name: content.rows for name, content in told.others.items()}
    left = total = told.content.rows
    for split, share in draft.SHARES.items():
        held = data.get(f"{split}_split", share if split == "validation" else 0)
        if split not in rows and (split in told.content.splits or "user" in data):
            rows[split] = round(share * total)  # beside train, in the same file
        elif split not in rows:
            rows[split] = round(held * left)
            left -= rows[split]
    return {**rows, "train": left}
