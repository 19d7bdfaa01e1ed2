"""Runs side by side on the same rows, those that differ only in their seed put together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ftlight.metrics.seeds import Difference, Spread, difference, spread
from ftlight.metrics.statistics import holm
from ftlight.run import ending, folder, outcomes, records
from ftlight.run.outcomes import Outcomes
from ftlight.utils.errors import UserError, shortened

SPLITS = ("test", "validation")
NAMED = 3  # options that name a group of runs, at most
INTERNAL = (
    ".known_labels",
    ".run",
    ".name",
    ".report",
)  # options that no user gives to tell runs apart


class Run(NamedTuple):
    """What is compared of a run.

    Attributes:
        path: its folder, as given.
        config: its config, but for the seed.
        seed: its seed; None if it was not fixed.
        begins: what else it comes from: the training data's digest, the run it began with.
        outcomes: how good it is on each row.
        metrics: its metrics on the test rows; empty on validation.
    """

    path: str
    config: Mapping[str, Any]
    seed: int | None
    begins: tuple[str, str]
    outcomes: Outcomes
    metrics: Mapping[str, float]


class Group(NamedTuple):
    """Runs that differ only in their seed.

    Attributes:
        name: options in which it differs from the other groups, or the first run's folder.
        runs: the runs.
        spread: their mean score and what it may be by chance.
        difference: what they are better than those of the first group by; None of the first.
        p: the p-value of that, adjusted for the number of groups (Holm); None likewise.
    """

    name: str
    runs: Sequence[Run]
    spread: Spread
    difference: Difference | None
    p: float | None


def runs_of(path: str) -> list[Path]:
    """The run in a folder, or the runs of several seeds that ``fit --seeds`` made there.

    Raises:
        UserError: there is neither.
    """
    seeds = sorted(Path(path).expanduser().glob("seed-*/config.yaml"))
    if seeds and not (Path(path).expanduser() / "config.yaml").is_file():
        return [file.parent for file in seeds]
    return [folder.find(path)]


def load(paths: Sequence[Path]) -> tuple[str, list[Run]]:
    """Reads runs: their test, or their validation if not all were tested.

    Returns:
        The split, test or validation, and the runs.

    Raises:
        UserError: a run was not measured, or is damaged.
    """
    for split in SPLITS:
        found = [_outcomes(path, split) for path in paths]
        if all(kept is not None for kept in found):
            return split, [
                _run(path, split, kept)
                for path, kept in zip(paths, found, strict=True)
                if kept is not None
            ]
    lacks = next(path for path, kept in zip(paths, found, strict=True) if kept is None)
    raise unmeasured(lacks)


def _outcomes(path: Path, split: str) -> Outcomes | None:
    if split == "validation":
        return outcomes.validation(path)
    return outcomes.read(path / f"outcomes-{split}.npz")


def validated(paths: Sequence[Path]) -> np.ndarray:
    """Scores of the validation rows by each run, ``float [runs, rows]``.

    Raises:
        UserError: a run was not validated, or on other rows.
    """
    runs = []
    for path in paths:
        kept = _outcomes(path, "validation")
        if kept is None:
            raise unmeasured(path)
        runs.append(_run(path, "validation", kept))
    return aligned(runs)


def unmeasured(path: Path) -> UserError:
    """The error for a run whose rows have no outcomes: it was stopped, or not tested."""
    if stopped := ending.unfinished(path):
        return UserError(f"{stopped}, and was not measured; to go on: {ending.resume(path)}")
    return UserError(
        f"{folder.short(path)} has no outcomes of its rows; measure it: python -m ftlight test"
        f" {folder.short(path)} (with --data.test F if it had no test data)"
    )


def _run(path: Path, split: str, kept: Outcomes) -> Run:
    config, facts = folder.read_config(path), records.facts(path)
    seed = config.pop("seed_everything", None)
    begins = facts.get("data_sha256", {}).get("train", ""), facts.get("from", "")
    seed = seed if isinstance(seed, int) and not isinstance(seed, bool) else None
    return Run(folder.short(path), config, seed, begins, kept, metrics(path, split))


def metrics(path: Path, split: str) -> dict[str, float]:
    """The metrics of a run on its test rows, by name; empty on validation.

    Args:
        path: folder of the test's files.
        split: test or validation.
    """
    found = records.of(path / "test_metrics.json", {}) if split == "test" else {}
    numbers = {name: v for name, v in found.items() if isinstance(v, float | int)}
    return {name.removeprefix("test/"): value for name, value in numbers.items()}


def compare(runs: Sequence[Run]) -> tuple[str, list[Group]]:
    """Compares runs with the first of them.

    Args:
        runs: the runs, of one split.

    Returns:
        The name of the score, and the groups, in the order of their first runs.

    Raises:
        UserError: they were measured on other rows, or one is given twice.
    """
    twice = next((run.path for i, run in enumerate(runs) if run.path in _paths(runs[:i])), None)
    if twice is not None:
        raise UserError(f"{twice} is given twice")
    scores = aligned(runs)
    numbers: list[list[int]] = []
    for i, run in enumerate(runs):
        like = (group for group in numbers if _differ_in_seed(runs[group[0]], run))
        group = next(like, None)
        numbers.append([i]) if group is None else group.append(i)
    names = _names([runs[group[0]] for group in numbers])
    names = [
        f"{name} …" if len(group) > 1 and name == runs[group[0]].path else name
        for name, group in zip(names, numbers, strict=True)
    ]
    differences = [difference(scores[group], scores[numbers[0]]) for group in numbers[1:]]
    adjusted = holm([found.p for found in differences])
    beside = [(None, None), *zip(differences, adjusted, strict=True)]
    groups = [
        Group(name, [runs[i] for i in group], spread(scores[group]), *found)
        for name, group, found in zip(names, numbers, beside, strict=True)
    ]
    return metric_of(runs[0].outcomes.scores, runs[0].metrics), groups


def _paths(runs: Sequence[Run]) -> list[str]:
    return [run.path for run in runs]


def _differ_in_seed(one: Run, other: Run) -> bool:
    """Whether two runs are the same but for their seed."""
    is_same = folder.same_config(one.config, other.config) and one.begins == other.begins
    return is_same and one.seed != other.seed


def aligned(runs: Sequence[Run]) -> np.ndarray:
    """Scores of the same rows by each run, ``float [runs, rows]``.

    Raises:
        UserError: the rows are not the same.
    """
    keys = [_sorted(run.outcomes) for run in runs]
    for run, (key, _) in zip(runs[1:], keys[1:], strict=True):
        if np.array_equal(keys[0][0], key):
            continue
        common = len(np.intersect1d(keys[0][0], key))
        raise UserError(
            f"{runs[0].path} was measured on {len(keys[0][0]):,} rows and {run.path} on"
            f" {len(key):,}, of which {common:,} are the same; measure both on the same data:"
            " python -m ftlight test RUN --data.test F"
        )
    return np.stack([scores for _, scores in keys])


def _sorted(found: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    """What tells the rows, and their scores, in an order that no file decides."""
    keys = found.rows if found.keys is None else found.keys
    order = np.argsort(keys, kind="stable")
    return keys[order], found.scores[order]


def _names(firsts: Sequence[Run]) -> list[str]:
    """What tells groups apart: the options in which their configs differ, if they are few."""
    flat = [dict(folder.flat(run.config)) for run in firsts]
    keys = {key: 0 for one in flat for key in one if not key.endswith(INTERNAL)}
    names = [key for key in keys if _varies(flat, key)]
    if not names or len(names) > NAMED:
        return [run.path for run in firsts]
    return [", ".join(_option(key, one.get(key)) for key in names) for one in flat]


def _option(key: str, value: Any) -> str:
    shown = "not set" if value is None else shortened(str(value), 30)
    return f"{key.replace('.init_args', '')}: {shown}"


def _varies(flat: Sequence[Mapping[str, Any]], key: str) -> bool:
    return len({json.dumps(one.get(key), default=str) for one in flat}) > 1


def metric_of(scores: np.ndarray, metrics: Mapping[str, float]) -> str:
    """The metric that the mean of the rows' scores is; ``score of a row`` if it is none.

    Args:
        scores: score of each row.
        metrics: metrics of the same rows, by name.
    """
    mean = float(scores.mean())
    for sign, word in ((1, ""), (-1, "negative ")):
        for metric, value in metrics.items():
            is_end = metric.endswith(("_low", "_high"))
            if not is_end and abs(sign * value - mean) < 1e-6 * max(1.0, abs(mean)):
                return f"{word}{metric}"
    return "score of a row"
