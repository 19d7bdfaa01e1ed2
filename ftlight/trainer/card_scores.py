"""The numbers of a model card: the test, cheap models beside it, groups, calibration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ftlight.utils.format import counted, number
from ftlight.utils.markdown import table, told

WORST = 30  # classes that are shown
PAIRS = 5  # labels taken for others


class Score(NamedTuple):
    """A score of a test.

    Attributes:
        name: its name, without that of the split.
        value: its value.
        interval: ends of its 95 % interval in words; empty without one.
    """

    name: str
    value: float
    interval: str


def scores(test: Mapping[str, Any], main: str) -> list[Score]:
    """The score that counts and those with an interval: what models are compared by.

    Args:
        test: what test_metrics.json holds.
        main: name of the score that counts, which comes first.
    """
    named = {n.removeprefix("test/"): v for n, v in test.items() if n.startswith("test/")}
    found = []
    for name, value in named.items():
        ends = _between(named.get(f"{name}_low"), named.get(f"{name}_high"))
        is_score = isinstance(value, float) and math.isfinite(value) and not _belongs(name, named)
        if is_score and (ends or name == main):
            found.append(Score(name, value, ends))
    return sorted(found, key=lambda score: score.name != main)


def sentence(test: Mapping[str, Any], main: str) -> str:
    """The score that counts, in words."""
    found = scores(test, main)
    if not found:
        return "It was not tested."
    score, rows = found[0], counted(int(test.get("test/rows") or 0), "test row")
    ends = f" (95 % interval {score.interval})" if score.interval else ""
    return f"On {rows} its {told(score.name)} is {score.value:.4f}{ends}."


def _belongs(name: str, named: Mapping[str, Any]) -> bool:
    """Whether a value is about another one: an end of its interval, or it of some rows only."""
    stem, _, end = name.rpartition("_")
    return (end in ("low", "high") and stem in named) or name.endswith("_unseen")


def _between(low: Any, high: Any) -> str:
    return "" if low is None or high is None else f"{_value(low)} to {_value(high)}"


def _value(value: Any) -> str:
    """A value of a score; a text as it is, such as the signature of a BLEU."""
    if isinstance(value, float):
        return f"{value:.4f}" if math.isfinite(value) else "n/a"
    return "n/a" if value is None else told(value)


def results(test: Mapping[str, Any]) -> Iterator[str]:
    """The table of a test, the worst classes, and what is taken for what."""
    named = {n.removeprefix("test/"): v for n, v in test.items() if n.startswith("test/")}
    named = {n: v for n, v in named.items() if isinstance(v, float | str | None)}
    if not named:
        yield "Not tested."
        return
    rows = []
    for name, value in named.items():
        if not _belongs(name, named):
            between = _between(named.get(f"{name}_low"), named.get(f"{name}_high"))
            rows.append([told(name), _value(value), between])
    yield f"Measured on the test data ({test.get('test/rows')} rows):"
    yield table(["metric", "value", "95 % interval"], rows)
    yield from _overlap(test)
    yield from _classes(test.get("classes") or {})
    if pairs := [pair for pair in test.get("confusion") or [] if pair[0] != pair[1]]:
        pairs = sorted(pairs, key=lambda pair: -pair[2])[:PAIRS]
        said = "; ".join(f"{told(a)} for {told(b)} ({rows:,})" for a, b, rows in pairs)
        yield f"Most often taken: {said}."
    if swaps := test.get("swaps"):
        if "changed" in swaps:
            yield (
                f"Of {counted(swaps['rows'], 'row')} with words exchanged that should change"
                f" nothing, {swaps['changed']:,} get another answer."
            )


def _overlap(test: Mapping[str, Any]) -> list[str]:
    """How many rows of a test are in train, and the score of the others."""
    rows, known = test.get("test/rows"), test.get("test/rows_in_train")
    if not known or not rows:
        return []
    said = f"{known:,} of {rows:,} test rows are in train too, or nearly"
    for name, value in test.items():
        if name.endswith("_unseen") and isinstance(value, float):
            between = _between(test.get(f"{name}_low"), test.get(f"{name}_high"))
            metric = told(name.removeprefix("test/").removesuffix("_unseen"))
            said += f"; of the others the {metric} is {_value(value)}"
            said += f" (95 % interval {between})" if between else ""
    return [f"{said}."]


def _classes(classes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if not classes:
        return
    worst = sorted(classes, key=lambda name: classes[name].get("f1") or 0.0)[:WORST]
    more = len(classes) - len(worst)
    yield f"Per class{f', the {WORST} worst of {len(classes):,}' if more else ', the worst first'}:"
    rows = []
    for name in worst:
        about = classes[name]
        shares = [_value(about.get(key)) for key in ("f1", "precision", "recall")]
        rows.append([told(name), *shares, f"{about.get('support', 0):,.0f}"])
    yield table(["class", "F1", "precision", "recall", "rows"], rows)


def baselines(found: Mapping[str, Any]) -> Iterator[str]:
    """The cheap models beside a run, and whether fine-tuning paid; nothing if none were made."""
    models = found.get("models") or []
    if not models:
        return
    score = told(found.get("score", "score"))
    rows = []
    for model in models:
        above = model.get("run_above")
        gain = (
            f"{above['gain']:+.4f} ({above['low']:+.4f} to {above['high']:+.4f})" if above else ""
        )
        ends = _between(model.get("low"), model.get("high"))
        train = model.get("train_rows")
        many = "–" if train is None else f"{train:,}"
        rows.append([told(model.get("name", "")), many, _value(model.get("score")), ends, gain])
    yield f"{counted(found.get('rows', 0), 'row')} of {told(found.get('split', 'test'))}:"
    header = ["model", "rows of train", score, "95 % interval", "this model is better by"]
    yield table(header, rows)
    if lines := found.get("verdict"):
        yield "\n".join(f"- {told(line)}" for line in lines)


def groups(test: Mapping[str, Any]) -> Iterator[str]:
    """The score of each group of rows, by the columns that name groups."""
    for column, found in (test.get("groups") or {}).items():
        metric = str(found.get("metric", ""))
        yield f"By {told(column)}:"
        rows = [
            [
                told(name),
                f"{about.get('rows', 0):,}",
                _value(about.get(metric)),
                _between(about.get("low"), about.get("high")),
                number(about.get("p")),
            ]
            for name, about in (found.get("by_group") or {}).items()
        ]
        yield table(["group", "rows", told(metric), "95 % interval", "p against the others"], rows)
        if found.get("difference") is not None:
            yield (
                f"The best and the worst are {_value(found['difference'])} apart"
                f" (ratio {_value(found.get('ratio'))})."
            )


def calibration(found: Mapping[str, Any], heat: str) -> Iterator[str]:
    """What a probability of the model is worth; nothing if that is not known.

    Args:
        found: what calibration.json holds.
        heat: a sentence on the temperature of the weights; empty if they have none.
    """
    if heat.strip():
        yield heat.strip()
    if found.get("error") is None:
        return
    rows, unit = found.get("rows", 0), told(found.get("unit", "rows"))
    in_words = f"{rows:,} {unit} of validation"
    yield (
        f"Calibration error (ECE) {number(found['error'])} on {in_words}; a perfectly calibrated"
        f" model would show {number(found.get('floor'))} on as many."
    )
    levels = found.get("at_least") or {}
    if any(levels.values()):
        cells = [
            [f"{100 * float(share):g} %", number(at["threshold"]), f"{100 * at['answered']:.0f} %"]
            if at
            else [f"{100 * float(share):g} %", "not reachable", "–"]
            for share, at in levels.items()
        ]
        yield table(["right, if it answers", "only above a score of", "share it answers"], cells)
