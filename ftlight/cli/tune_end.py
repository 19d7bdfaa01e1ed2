"""The end of a tune: the winner, its test, the table, and what is written of it all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from optuna.study import Study
from optuna.trial import FrozenTrial

from ftlight.cli import child, repeats, tune_training
from ftlight.cli.repeats import Again
from ftlight.evidence import comparing
from ftlight.metrics.seeds import Difference, difference
from ftlight.run import folder, records
from ftlight.tune import ending, study
from ftlight.tune.asked import Asked
from ftlight.tune.ending import Tried
from ftlight.utils.atomic import atomic_write, write_json, writing
from ftlight.utils.errors import UserError
from ftlight.utils.format import counted, span

FILE = "tune.json"
AS_IS = "no trial is better than the config as it is"
UNSAID = ("test", "report", "enable_progress_bar")  # which a trial has, and its config need not


class Candidate(NamedTuple):
    """Settings that may win, with a run for each seed.

    Attributes:
        number: the trial.
        runs: folders of its runs, that of the trial first.
        scores: their validation scores, of which more is better.
    """

    number: int
    runs: Sequence[Path]
    scores: Sequence[float]

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return sum(self.scores) / len(self.scores)

    @property
    def best(self) -> Path:
        """Its run with the best score."""
        return self.runs[max(range(len(self.runs)), key=lambda i: self.scores[i])]


def end(asked: Asked, tried: Study) -> str:
    """Chooses the winner, tests it once, writes everything. Returns what to print.

    Raises:
        UserError: no trial has ended.
    """
    found = study.finished(tried)
    if not found:
        raise UserError(_none(asked, tried))
    monitor, sign = found[0].user_attrs["monitor"], found[0].user_attrs["sign"]
    wanted = repeats.to_repeat(asked, tried)
    repeated = [again for again in wanted if tune_training.is_done(asked.home / again.name)]
    winner, first = choose(asked, found, repeated)
    compared = _compare(winner, first)
    name = study.name_of(winner.number)
    said = ending.verdict(name, compared, len(found)) if winner.number else AS_IS
    is_kept = winner.number == 0 or ending.is_better(compared, len(found))
    kept = winner if is_kept or first is None else first
    if asked.keep == "best":
        _sweep(asked, kept.best)
    link = _link(asked.home, kept.best)
    _write_yaml(asked.home, kept.best)
    tested = _test(asked, kept.best)
    listed = [_tried(trial, sign) for trial in tried.get_trials(deepcopy=False)]
    note = ending.note(len(found), not isinstance(tested, str)) if kept.number else ""
    names = [p.name for p in asked.parameters if not p.is_fixed]
    weights = study.importance(tried)
    about = {
        "score": monitor,
        "goal": "max" if sign > 0 else "min",
        "names": names,
        "trials": [trial._asdict() for trial in listed],
        "repeated": [_again(asked, again) for again in repeated],
        "importance": weights,
        "winner": {"trial": winner.number, "mean": sign * winner.mean, "seeds": len(winner.runs)},
        "above_config": None if compared is None else compared._asdict(),
        "best": {"trial": kept.number, "run": kept.best.name, "settings": _settings(found, kept)},
        "test": {} if isinstance(tested, str) else tested,
        "verdict": said,
        "note": note,
    }
    with writing(asked.home / FILE):
        write_json(asked.home / FILE, about)
    lines = [ending.lines(listed, monitor, names), _by_weight(weights), said]
    lines += [
        _mean(winner, sign, monitor),
        tested if isinstance(tested, str) else _score(tested, monitor),
    ]
    place = folder.short(asked.home)
    lines += [note, f"best: {folder.short(link)} ({kept.best.name}); to repeat it: "]
    lines[-1] += f"python -m ftlight fit -c {place}/best.yaml"
    lines.append(f"page: python -m ftlight report {place}")
    return "\n".join(filter(None, lines))


def _none(asked: Asked, tried: Study) -> str:
    """Why there is nothing to choose from."""
    failed = [t.user_attrs["failure"] for t in tried.get_trials() if "failure" in t.user_attrs]
    if failed:
        return f"no trial has ended well; the last one: {failed[-1]}"
    return (
        f"no trial has ended within {span(asked.budget)}; give a longer --budget (the same --run"
        " goes on), or fewer epochs"
    )


def choose(
    asked: Asked, found: Sequence[FrozenTrial], repeated: Sequence[Again]
) -> tuple[Candidate, Candidate | None]:
    """The winner by the mean over seeds, and the config as it is, if it was measured.

    Those with runs on several seeds come before those without, which luck may have brought up.
    """
    numbers = [again.number for again in repeated]
    top = {number: numbers.count(number) for number in numbers}
    most = max(top.values(), default=0)
    made = {trial.number: _candidate(asked, trial, repeated) for trial in found}
    compared = [c for c in made.values() if top.get(c.number, 0) == most] if most else []
    compared = compared or [made[found[0].number]]
    winner = max(compared, key=lambda c: (c.mean, -c.number))
    return winner, made.get(0)


def _candidate(asked: Asked, trial: FrozenTrial, repeated: Sequence[Again]) -> Candidate:
    runs, scores = [asked.home / study.name_of(trial.number)], [study.score(trial)]
    for again in repeated:
        if again.number == trial.number:
            runs.append(asked.home / again.name)
            scores.append(trial.user_attrs["sign"] * tune_training.measured(runs[-1]).score)
    return Candidate(trial.number, runs, scores)


def _compare(winner: Candidate, first: Candidate | None) -> Difference | None:
    """How much better the rows of validation are than with the config as it is."""
    if first is None or winner.number == first.number:
        return None
    try:
        scores = comparing.validated([*winner.runs, *first.runs])
    except UserError:  # a task without scores of rows
        return None
    return difference(scores[: len(winner.runs)], scores[len(winner.runs) :])


def _sweep(asked: Asked, best: Path) -> None:
    """Deletes checkpoints of all but the best run; what has not ended may go on."""
    for run in asked.home.glob("trial-*"):
        has_ended = run.is_dir() and records.facts(run).get("status") in ("done", "failed")
        if has_ended and run != best:
            tune_training.remove_checkpoints(run)


def _link(home: Path, run: Path) -> Path:
    """The link to the best run; where there are no links, the run itself."""
    link = home / "best"
    folder.point(link, run.name)
    return link if link.is_symlink() else run


def _write_yaml(home: Path, run: Path) -> None:
    """Writes the config of the best run, as a user would train it."""
    config = folder.read_config(run)
    trainer = {k: v for k, v in config["trainer"].items() if k not in UNSAID}
    text = folder.as_yaml({**config, "trainer": trainer})
    with writing(home / "best.yaml"), atomic_write(home / "best.yaml") as file:
        file.write(text.encode())


def _test(asked: Asked, run: Path) -> dict[str, Any] | str:
    """Tests the winner, if it was not tested yet. Returns its metrics, or why there are none."""
    log = asked.home / "test.log"
    if not (run / "test_metrics.json").is_file():
        if child.run("test", [str(run)], log, alone=True):
            why = child.fault(log)
            return f"not tested: {why}"
    found = records.of(run / "test_metrics.json", {})
    return {name: v for name, v in found.items() if isinstance(v, int | float)}


def _tried(trial: FrozenTrial, sign: float) -> Tried:
    known = trial.user_attrs
    state = trial.state.name.lower().replace("fail", "failed")
    if "same_as" in known:
        state = f"as {known['same_as']}"
    score = sign * known["score"] if "score" in known else None
    return Tried(
        trial.number,
        state,
        score,
        study.seconds(trial),
        known.get("settings", {}),
        known.get("failure", ""),
    )


def _again(asked: Asked, again: Again) -> dict[str, Any]:
    score = tune_training.measured(asked.home / again.name).score
    return {"trial": again.number, "seed": again.seed, "score": score}


def _settings(found: Sequence[FrozenTrial], kept: Candidate) -> dict[str, Any]:
    trial = next(trial for trial in found if trial.number == kept.number)
    return dict(trial.user_attrs["settings"])


def _by_weight(weights: dict[str, float]) -> str:
    """What decides most, in a line."""
    if not weights:
        return ""
    ranked = sorted(weights.items(), key=lambda item: -item[1])
    return "what decides: " + ", ".join(f"{name} {weight:.0%}" for name, weight in ranked)


def _mean(winner: Candidate, sign: float, monitor: str) -> str:
    if len(winner.runs) < 2:
        return ""
    mean = f"{monitor} {sign * winner.mean:.4f}"
    return f"{study.name_of(winner.number)}: {mean}, mean of {counted(len(winner.runs), 'seed')}"


def _score(tested: dict[str, Any], monitor: str) -> str:
    """The test of the winner, in a line: the score that chose it, and a few more."""
    name = monitor.replace("val/", "test/")
    low, high = (tested.get(f"{name}_{end}") for end in ("low", "high"))
    interval = "" if low is None or high is None else f" ({low:.4f} to {high:.4f})"
    others = [key for key in tested if key != name and not key.endswith(("_low", "_high"))]
    shown = [f"{name} {tested[name]:.4f}{interval}"] if name in tested else []
    shown += [f"{key} {tested[key]:.4f}" for key in others[:3]]
    return f"test: {', '.join(shown)}"
