"""The sections that say what came of a run: sentences, cheap models beside it, what to do next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ftlight.report.chart import Chart, Line, draw
from ftlight.report.numbers import (
    Interval,
    interval,
    interval_of,
    number,
    p_value,
    placed,
    signed,
)
from ftlight.report.reading import Files
from ftlight.run import ending
from ftlight.run.folder import short
from ftlight.utils.format import count, counted

COMMAND = re.compile(
    r"(python -m ftlight [^;]+|pip install [^;]+"
    r"|--[a-z][\w.]* [^\s;,]+|(?:model|data|trainer)\.[a-z_0-9]+: (?:\[[^\]]*\]|[^\s;,]+))"
)
"""What of an advice can be copied: a command, or an option."""


class Step(NamedTuple):
    """What to do next.

    Attributes:
        why: why, in words.
        lines: commands or options to copy.
    """

    why: str
    lines: Sequence[str]


class Model(NamedTuple):
    """A model beside the run.

    Attributes:
        name: its name.
        is_run: whether it is the run.
        rows: rows of train that it learned from.
        score: its score.
        above: what the run is better by.
        p: the p-value of that, adjusted.
        seconds: seconds of processors.
        weights: weights that it learned.
    """

    name: str
    is_run: bool
    rows: str
    score: Interval
    above: str
    p: str
    seconds: str
    weights: str


class Baselines(NamedTuple):
    """Cheap models beside the run.

    Attributes:
        title: what is measured.
        verdict: what that says, in lines.
        models: the models.
        curve: the learning curve, if there is one.
    """

    title: str
    verdict: Sequence[str]
    models: Sequence[Model]
    curve: Chart | None


class Rung(NamedTuple):
    """A rung of the ladder that a run is of.

    Attributes:
        name: what it is.
        is_best: whether it is the one that was kept.
        score: its score on the validation rows.
        rows: rows of train that it learned.
        seconds: what it took.
    """

    name: str
    is_best: bool
    score: Interval
    rows: str
    seconds: str


class Ladder(NamedTuple):
    """The ladder that a run is a rung of.

    Attributes:
        title: what is measured.
        said: what it says, each line with a word for what it is of.
        rungs: its rungs.
    """

    title: str
    said: Sequence[tuple[str, str]]
    rungs: Sequence[Rung]


def ladder(run: Files) -> Ladder | None:
    """The ladder that a run is a rung of; None if it is none."""
    rungs = run.ladder.get("rungs", [])
    if not rungs:
        return None
    ends = [rung[end] for rung in rungs for end in ("low", "high") if rung.get(end) is not None]
    scale = (min(ends, default=0.0), max(ends, default=1.0))
    shown = [
        Rung(
            rung["name"],
            rung["best"],
            placed(rung["score"], rung["low"], rung["high"], scale),
            f"{rung['rows']:,}" if rung["rows"] else "",
            f"{rung['seconds']:,.0f}",
        )
        for rung in rungs
    ]
    said = [(line["word"], line["line"]) for line in run.ladder.get("said", [])]
    return Ladder(f"{rungs[-1]['score_name']} of the validation rows", said, shown)


def headline(run: Files) -> tuple[str, str, str]:
    """Name, value and interval of the score that counts: of the test, else of validation."""
    name = run.monitor.removeprefix("val/")
    if run.test and f"test/{name}_low" not in run.test:  # a loss chooses, perplexity is told
        name = next((n[5:-4] for n in run.test if n.endswith("_low")), name)
    if run.test.get(f"test/{name}") is not None:
        low, high = (run.test.get(f"test/{name}_{end}") for end in ("low", "high"))
        return f"{name} of test", number(run.test[f"test/{name}"]), interval(low, high)
    best = run.facts.get("best", {}).get(run.monitor)
    if best is None and run.logged.get(run.monitor):
        best = run.logged[run.monitor][-1][1]
    return f"{name} of validation", number(best), ""


def sentences(run: Files) -> list[str]:
    """What is to be said of a run in three sentences."""
    said = [_score(run)]
    if run.verdict:
        said.append(_sentence(run.verdict["sentence"]))
    elif run.is_running or ending.unfinished(run.folder):
        said.append(_sentence(ending.unfinished(run.folder)))
    if run.kept:
        said.append(_forgotten(run.kept))
    elif run.baselines.get("verdict"):
        said.append(_sentence(run.baselines["verdict"][0]))
    elif not run.is_running and not run.ladder:
        said.append("No cheap models were measured beside it: whether fine-tuning paid is open.")
    return said


def _score(run: Files) -> str:
    name, value, ends = headline(run)
    if value == "–":
        return "It has not been measured yet."
    rows = run.test.get("test/rows")
    if "of test" not in name:
        size = run.learning.get("rows", {}).get("validation")
        where = f"{size:,} validation rows" if size else "the validation rows"
        return (
            f"The {name.removesuffix(' of validation')} of {where} is {value}; it was not tested."
        )
    where = f"{rows:,} test rows" if isinstance(rows, int) else "the test rows"
    between = f" (95 % interval {ends})" if ends else ""
    more = _beside_f1(run) if name == "f1 of test" else ""
    return f"The {name.removesuffix(' of test')} of {where} is {value}{between}{more}."


def _beside_f1(run: Files) -> str:
    """The accuracy, which other screens tell, and the labels that only lower a mean of all."""
    said, accuracy = "", run.test.get("test/accuracy")
    if accuracy is not None:
        low, high = (run.test.get(f"test/accuracy_{end}") for end in ("low", "high"))
        said = f"; the accuracy {number(accuracy)} ({interval(low, high)})"
    supports = [about.get("support") for about in run.test.get("classes", {}).values()]
    if absent := supports.count(0):
        said += f"; {counted(absent, 'label', 'have')} no test row, which counts 0 in the mean f1"
    return said


def _forgotten(kept: Mapping[str, Any]) -> str:
    found = kept["difference"]
    figures = f"{signed(found['gain'])} ({signed(found['low'])} to {signed(found['high'])})"
    change = f"{kept['score']} {number(kept['before'])} before, {number(kept['after'])} now"
    if found["p"] is not None and found["p"] < 0.05:
        way = "better than before" if found["gain"] > 0 else "something is forgotten"
    else:
        way = "nothing is forgotten, as far as they tell"
    return f"Of {kept['rows']:,} rows that it could do before, {way}: {change}, {figures}."


def _sentence(text: str) -> str:
    """A line as a sentence.

    >>> _sentence("fine: no fault found")
    'Fine: no fault found.'
    """
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def baselines(run: Files) -> Baselines | None:
    """The cheap models beside a run; None if none were measured."""
    found = run.baselines
    models = found.get("models", [])
    if not models:
        return None
    ends = [m[end] for m in models for end in ("low", "high") if m.get(end) is not None]
    scale = (min(ends, default=0.0), max(ends, default=1.0))
    title = f"{found.get('score', 'score')} of {found.get('rows', 0):,} rows of"
    curve = found.get("learning_curve") or {}
    return Baselines(
        f"{title} {found.get('split', 'test')}",
        [_sentence(line) for line in found.get("verdict", [])],
        [_model(model, scale) for model in models],
        learning_curve(curve.get("scores") or {}, found.get("score", "score")),
    )


def _model(model: Mapping[str, Any], scale: tuple[float, float]) -> Model:
    above, spent = model.get("run_above"), model.get("spent") or {}
    rows, weights = model.get("train_rows"), model.get("weights")
    gain = "" if above is None else f"{signed(above['gain'])} ({interval_of(above)})"
    return Model(
        str(model.get("name", "")),
        above is None,
        "" if rows is None else f"{rows:,}",
        placed(model.get("score"), model.get("low"), model.get("high"), scale),
        gain,
        "" if above is None else p_value(above.get("p_holm")),
        "" if "processor" not in spent else f"{spent['processor']:,.1f}",
        "" if weights is None else count(weights),
    )


def learning_curve(scores: Mapping[str, Sequence[float]], name: str) -> Chart | None:
    """The mean score of the probe by rows of train; None of fewer than two sizes."""
    sizes = sorted((int(size), values) for size, values in scores.items() if size.isdecimal())
    means = [(float(size), sum(values) / len(values)) for size, values in sizes if values]
    if len(means) < 2:
        return None
    return draw(f"{name} of the probe by rows of train", [Line("probe", means)], "rows of train")


def following(run: Files) -> list[Step]:
    """What to do next, as lines to copy."""
    place = shlex.quote(short(run.folder))
    advice = [run.verdict.get("option", "")]
    told = {found.option: found for found in reversed(run.findings) if found.level != "know"}
    advice += [
        f"{found.split or 'data'}: {found.message}: {option}"
        for option, found in reversed(told.items())
        if option
    ]
    advice += [line for line in run.baselines.get("verdict", []) if COMMAND.search(line)]
    if run.kept and run.kept["difference"]["p"] is not None and run.kept["difference"]["p"] < 0.05:
        if run.kept["difference"]["gain"] < 0:
            advice.append("what was known is forgotten: --model.unfreeze last:2")
    steps = [step_of(line) for line in dict.fromkeys(filter(None, advice))]
    if ending.unfinished(run.folder) and not run.is_running:
        steps.insert(0, Step("the run did not end: go on with it", [ending.resume(run.folder)]))
    if not run.test and not run.is_running:
        line = f"python -m ftlight test {place} --data.test FILE"
        steps.append(Step("it was not tested: measure it on rows that chose nothing", [line]))
    if not run.baselines and not run.ladder and not run.is_running:
        line = f"python -m ftlight baselines {place}"
        steps.append(Step("did fine-tuning pay? Measure cheap models beside it", [line]))
    if not run.is_running:
        lines = [f"python -m ftlight predict {place} FILE", f"python -m ftlight export {place}"]
        steps.append(Step("use it", lines))
    return steps


def step_of(advice: str) -> Step:
    """An advice taken apart: why, and what can be copied.

    >>> step_of("try: more of them, such as data.validation_split: 0.3")
    Step(why='try: more of them, such as', lines=['data.validation_split: 0.3'])
    """
    lines = [match.strip() for match in COMMAND.findall(advice)]
    why = COMMAND.sub("", advice).strip(" ;:,()") if lines else advice
    return Step(" ".join(why.split()).removesuffix(" set"), lines)
