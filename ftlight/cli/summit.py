"""The end of ``auto``: the best run is tested once, named, and shown."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ftlight.cli import child
from ftlight.cli.ladder import TUNED, Climb, config_of
from ftlight.cli.rung import Rung
from ftlight.evidence import choice
from ftlight.metrics.seeds import difference
from ftlight.run import folder as runs
from ftlight.run import records
from ftlight.utils import secrets
from ftlight.utils.atomic import write_json
from ftlight.utils.errors import UserError
from ftlight.utils.format import span
from ftlight.utils.printable import say
from ftlight.utils.yaml_file import parse

NAME = "auto.json"
ONE_TEXT = ("TextClassification", "TokenClassification", "CausalLM", "Seq2Seq")
INTERRUPTED = 130
ROWS_SHOWN = 20  # on the page, if there is time to explain them
EXPLAINS = 14.0  # seconds that a page with explanations may take


def finish(climb: Climb, why: str, begun: float, known: Mapping[str, Any]) -> str:
    """Tests the best run and writes what was found. Returns what to print.

    Args:
        climb: the ladder.
        why: why it ended before its time; empty if it did not.
        begun: ``time.monotonic()`` at which the command began.
        known: what an earlier command wrote.

    Raises:
        UserError: there is no run, or the test failed.
    """
    if not climb.runs:
        raise UserError(
            f"{why or 'the time was too short'}: no model was trained yet; the same command goes"
            " on, with a larger --budget if need be"
        )
    best = climb.best
    name(climb, best)
    path = place_of(climb, best)
    if climb.rows.get("test"):
        log = climb.home / "test.log"
        if not (path / "test_metrics.json").is_file():
            say(f"  tests {best.name}, once …")
            if status := child.run("test", [str(path)], log):
                raise UserError(child.fault(log) or f"the test ended with status {status}")
    said = sentences(climb, best, why)
    used = time.monotonic() - begun + known.get("seconds", 0.0)
    write_json(climb.home / NAME, as_json(climb, best, said, used))
    if len(climb.rungs) > len(known.get("rungs", [])) or not (path / "report.html").is_file():
        left = climb.deadline - time.monotonic()
        rows = ROWS_SHOWN if left > EXPLAINS else 0
        child.run("report", [str(path), "--rows", str(rows)], climb.home / "report.log")
    place = runs.short(climb.home / runs.BEST)
    said += [
        ("took", span(time.monotonic() - begun)),
        ("page", runs.short(path / "report.html")),
        ("config", f"{place}.yaml"),
        ("next", f"python -m ftlight predict {place} {example(climb)}"),
    ]
    return "\n".join(f"{word:6} {line}" for word, line in said)


def example(climb: Climb) -> str:
    """What can follow ``predict RUN``."""
    data = config_of(climb)["data"]
    if climb.task == "ImageClassification":
        return "PHOTO.jpg"
    is_text = climb.task in ONE_TEXT and "text_pair" not in data
    return '--text "…"' if is_text and not isinstance(data.get("text"), list) else "FILE"


def place_of(climb: Climb, rung: Rung) -> Path:
    """The run of a rung; of several folds the one on all rows."""
    return climb.home / rung.run / (runs.ALL if climb.folds else "")


def name(climb: Climb, best: Rung) -> None:
    """Lets ``best`` point to the best run, and writes the config that repeats it as best.yaml."""
    config = config_of(climb)
    for key, value in {**climb.options, **best.options}.items():
        section, _, option = key.partition(".")
        found = parse(value, key)[0] if value else ""
        if option:
            config.setdefault(section, {})[option] = found
        else:  # the seed
            config[section] = found
    text = yaml.safe_dump(secrets.redact(config), sort_keys=False, allow_unicode=True)
    (climb.home / "best.yaml").write_text(text, encoding="utf-8")
    runs.point(climb.home / runs.BEST, place_of(climb, best).relative_to(climb.home))


def sentences(climb: Climb, best: Rung, why: str) -> list[tuple[str, str]]:
    """What is to be said at the end, each with a word for what it is of."""
    path = place_of(climb, best)
    backbone = climb.options.get("model.backbone", "")
    said = [
        ("best", f"{best.name}, {backbone} ({runs.short(path)})"),
        ("test", _tested(records.of(path / "test_metrics.json", {}), best)),
        ("choice", _flattered(climb, best)),
        ("cheap", _beside(climb, best)),
        ("verdict", records.of(path / "verdict.json", {}).get("sentence", "")),
        ("more", _more(climb, best, why)),
    ]
    return [(word, line) for word, line in said if line]


def _tested(tested: Mapping[str, Any], best: Rung) -> str:
    """The score of the test that is that of the ladder, else its first one with an interval."""
    names = [best.score_name, *(key[5:-4] for key in tested if key.endswith("_low"))]
    for metric in names:
        if f"test/{metric}_low" in tested:
            low, high = (tested[f"test/{metric}_{end}"] for end in ("low", "high"))
            rows = f", {tested['test/rows']:,} rows" if "test/rows" in tested else ""
            value = tested[f"test/{metric}"]
            return f"{metric} {value:.4f} (95 % interval {low:.4f} to {high:.4f}{rows})"
    return ""


def _flattered(climb: Climb, best: Rung) -> str:
    """By how much validation flatters what it chose."""
    scores = [rung.scores for rung in climb.runs if rung.scores is not None]
    if len(scores) < 2 or len({len(rows) for rows in scores}) > 1:
        return ""
    by = choice.flattery(scores)
    where = f"scores of {climb.folds} folds" if climb.folds else "validation"
    tests = "the test chose nothing" if climb.rows.get("test") else "there is no test"
    return (
        f"{where} chose among {len(scores)} runs, which flatters {best.score:.4f} by about"
        f" {by:.4f}; {tests}"
    )


def _beside(climb: Climb, best: Rung) -> str:
    """The best cheap model beside it, on the same validation rows."""
    cheap = [rung for rung in climb.rungs if not rung.run]
    if not cheap:
        return ""
    other = max(cheap, key=lambda rung: rung.score)
    if best.scores is None or other.scores is None or len(best.scores) != len(other.scores):
        return f"the best cheap model ({other.name}): {other.score:.4f}"
    gain, low, high = difference(best.scores[None], other.scores[None])[:3]
    if low > 0:
        pays = "fine-tuning paid"
    elif high < 0:
        pays = "it is better: fine-tuning did not pay"
    else:
        pays = "as good, as far as these rows tell: fine-tuning may not pay"
    beside = f"{gain:+.4f} ({low:+.4f} to {high:+.4f}) beside the best cheap model"
    return f"{beside} ({other.name}, {other.score:.4f}): {pays}"


def _more(climb: Climb, best: Rung, why: str) -> str:
    """What more time would likely bring."""
    if why and why != "stopped":
        return why
    last = climb.runs[-1]
    stopped = "it was stopped: the same command goes on" if why else ""
    if best.verdict == "no signal":
        return stopped or "more time finds no signal where there is none: look at the labels"
    if not any(rung.name == TUNED for rung in climb.runs):
        return stopped or "the time was too short to fine-tune: a larger --budget"
    twice = span(2 * climb.seconds).replace(" ", "")
    if best.ended_by == "budget":
        return stopped or f"training was cut short by the time: --budget {twice} may gain"
    if last.ended_by == "budget":
        rung = f"the last rung ({last.name}) was cut short by the time"
        return stopped or f"{rung}: --budget {twice} lets it end"
    return stopped or "more time gains little: training ended by itself; more rows may"


def as_json(climb: Climb, best: Rung, said: list[tuple[str, str]], used: float) -> dict[str, Any]:
    """All of the ladder, for a file."""
    rungs = []
    for rung in climb.rungs:
        row = {k: v for k, v in rung._asdict().items() if k not in ("scores", "metrics")}
        rungs.append({**row, "metrics": dict(rung.metrics), "best": rung is best})
    names = ("task", "options", "rows", "used")
    about = {name: secrets.redact(getattr(climb, name)) for name in names}
    lines = [{"word": word, "line": line} for word, line in said]
    return {**about, "budget": climb.seconds, "seconds": used, "said": lines, "rungs": rungs}
