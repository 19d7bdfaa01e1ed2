"""The rows of a cross-validation, each scored by the run that was not trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ftlight.cli import parser
from ftlight.data.module import DataModule
from ftlight.metrics import folds
from ftlight.metrics.folds import Score
from ftlight.metrics.sureness import Calibration
from ftlight.run.folder import ALL, FOLDS, short
from ftlight.run.outcomes import OUT_OF_FOLD
from ftlight.task import Task
from ftlight.trainer import calibrating, outcomes
from ftlight.utils import format as fmt
from ftlight.utils.atomic import atomic_write, write_json, writing


class Fold(NamedTuple):
    """A fold as its run answers it.

    Attributes:
        values: its metrics.
        outputs: outputs of its rows.
        targets: targets of its rows, or None.
        rows: its rows as read.
        told: outputs, targets and rows without those that are in train too.
        kept: what the file of outcomes has of its rows, by name.
    """

    values: Mapping[str, float]
    outputs: Any
    targets: Any
    rows: Sequence[Mapping[str, Any]]
    told: tuple[Any, Any, list[Mapping[str, Any]]]
    kept: dict[str, np.ndarray]


class Pooled(NamedTuple):
    """What all folds say together.

    Attributes:
        scores: each metric.
        main: the names of the score and of what chose the weights.
        rows: number of rows.
        calibration: file of their calibration; None if there is none.
    """

    scores: Mapping[str, Score]
    main: Sequence[str]
    rows: int
    calibration: Path | None


def pool(runs: Sequence[Path], home: Path) -> Pooled:
    """Scores all rows at once, and writes their outcomes and calibration into a folder.

    Args:
        runs: the runs of the folds.
        home: the folder.
    """
    found = []
    for path in runs:
        cli = parser.measured(str(path))
        found.append(_fold(cli.model, cli.datamodule))
    task: Task = cli.model
    rows = [row for fold in found for row in fold.rows]
    result = task.compute_metrics(*_joined([(f.outputs, f.targets) for f in found]), rows)
    sizes, scores = [len(fold.rows) for fold in found], {}
    for name in found[0].values:
        values = [fold.values[name] for fold in found]
        interval = result.intervals.get(name)
        scores[name] = folds.score(values, sizes, result.values.get(name), interval)
    _write_outcomes([fold.kept for fold in found], home / OUT_OF_FOLD)
    calibration, path = _calibrated(task, found), home / "calibration.ckpt"
    if calibration is not None:
        calibrating.save(calibration, path)
    main = list(dict.fromkeys([task.primary_metric, task.monitor.removeprefix("val/")]))
    return Pooled(scores, main, len(rows), None if calibration is None else path)


def _fold(task: Task, data: DataModule) -> Fold:
    result = task.evidence["val"]
    assert result.numbers is not None
    numbers = result.numbers.tolist()
    kept = {name: values.numpy() for name, values in outcomes.of(task, "val").items()}
    keys = data.duplicate_keys(data.load_split("validation"))
    if kept and keys is not None:
        kept["keys"] = np.array([keys[row].encode() for row in numbers])
    told: Any = None, None, []
    if calibrating.is_defined(task):
        told = calibrating.told(task, list(range(len(numbers))))
    rows = list(task.rows_of("val", numbers))
    return Fold(result.values, result.outputs, result.targets, rows, told, kept)


def _joined(pairs: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Outputs and targets of several folds; targets may be None."""
    outputs, targets = zip(*pairs, strict=True)
    with_targets = all(part is not None for part in targets)
    return folds.joined(outputs), folds.joined(targets) if with_targets else None


def _calibrated(task: Task, found: Sequence[Fold]) -> Calibration | None:
    """What the probabilities of rows are worth that were not trained on."""
    parts = [fold.told for fold in found if fold.told[2]]
    if not parts:
        return None
    rows = [row for part in parts for row in part[2]]
    left_out = sum(len(fold.rows) for fold in found) - len(rows)
    pairs = [part[:2] for part in parts]
    return calibrating.of_rows(task, *_joined(pairs), rows, False, left_out)


def _write_outcomes(found: Sequence[dict[str, np.ndarray]], path: Path) -> None:
    """Writes the outcomes of all rows, numbered fold by fold, if the task has any."""
    names = [name for name in found[0] if all(name in kept for kept in found)]
    if not names:
        return
    arrays = {name: np.concatenate([kept[name] for kept in found]) for name in names}
    arrays["rows"] = np.arange(len(arrays["scores"]))
    with writing(path), atomic_write(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def steps_on_all(facts: Sequence[Mapping[str, Any]], rows: int, has_lengths: bool) -> int:
    """Optimizer steps of the run on all rows; 0 if all that it trains is solved.

    Args:
        facts: run.json of each fold.
        rows: rows of all folds.
        has_lengths: whether stages have a length of their own: then folds count whole.
    """
    learned = [fact["learning"] for fact in facts]
    if all(stage["lr"] is None for one in learned for stage in one["stages"]):
        return 0
    kept = [one["kept_step"] for one in learned]
    whole = [fact["steps"] for fact in facts]
    steps = [w if has_lengths or k is None else k for k, w in zip(kept, whole, strict=True)]
    trained = [one["rows"]["train"] for one in learned]
    return max(1, folds.steps_on_all(steps, trained, rows))


def write(found: Pooled, steps: int, home: Path) -> None:
    """Writes folds.json."""
    scores = {name: score._asdict() for name, score in found.scores.items()}
    about = {"rows": found.rows, "score": found.main[0], "monitor": found.main[-1]}
    facts = {**about, "steps": steps, "metrics": scores}
    with writing(home / FOLDS):
        write_json(home / FOLDS, facts)


def shown(found: Pooled, steps: int, home: Path) -> str:
    """What the screen says of a cross-validation."""
    count = len(next(iter(found.scores.values())).folds)
    lines = [["", "all rows", "95 % interval", f"{count} folds: mean ± sd", "from", "to"]]
    names = [n for n, s in found.scores.items() if n in found.main or s.low is not None]
    for name in sorted(names, key=lambda n: n not in found.main[:1]):
        one = found.scores[name]
        ends = "" if one.low is None else f"{fmt.number(one.low)} to {fmt.number(one.high)}"
        if not one.pooled:
            ends = "the mean of folds"
        spread = f"{fmt.number(one.mean)} ± {fmt.number(one.sd)}"
        range_ = [fmt.number(min(one.folds)), fmt.number(max(one.folds))]
        lines.append([name, fmt.number(one.value), ends, spread, *range_])
    length = f"{fmt.counted(steps, 'step')}, the passes of the median fold" if steps else "solved"
    return (
        f"{found.rows:,} rows, each scored by the model of {count} that was not trained on it\n"
        f"{fmt.table(lines)}\n"
        f"{short(home / ALL)}: the model of all rows ({length}); {short(home / FOLDS)}: all figures"
    )
