"""The page about runs: its rows, why the model says so, where it is written, and when."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftlight.explain.explanation import Explained
from ftlight.report import page, reading
from ftlight.report.rows import choose
from ftlight.run import folder, outputs, records
from ftlight.utils.errors import UserError, first_line

EVERY = 2.0  # seconds between two looks at a run that trains
SETTLES = 10.0  # seconds that a run may take from its end to its verdict
EXPLAINING = 10.0  # seconds that explanations may take


def explained(
    run: Path, rows: Sequence[Mapping[str, Any]], seconds: float, trust: bool = False
) -> list[Explained]:
    """Why a run says what it says of some rows.

    Args:
        run: folder of the run.
        rows: rows of its wrong.csv; the numbers of what is returned are theirs.
        seconds: time that it may take; rows for which there is none left are not explained.
        trust: whether classes that the run names are imported though it was not made here.

    Returns:
        Nothing of tasks that cannot explain, of rows that lack an input column, and of a run
        without its weights.
    """
    if not rows:
        return []
    from ftlight.cli import parser  # brings torch, which a page without rows does not need
    from ftlight.explain.rows import explain

    try:
        predictor = parser.load(str(run), trust=trust)
        if any(name not in rows[0] for name in predictor.data.columns):
            return []
        return explain(predictor, [dict(row) for row in rows], "wrong.csv", seconds=seconds)
    except UserError:
        return []


def make(
    runs: Sequence[Path], out: Path, rows: int, follows: bool = False, trust: bool = False
) -> None:
    """Makes the page about runs.

    Args:
        runs: folder of each run.
        out: the file to write.
        rows: rows of the test that are shown.
        follows: whether the page reads itself again while a run trains.
        trust: whether classes that a run names are imported though it was not made here.

    Raises:
        UserError: a file of a run is damaged.
        WriteError: the page cannot be written.
    """
    why: list[Explained] = []
    if len(runs) == 1 and rows and not follows:
        wrong = reading.rows(runs[0] / "wrong.csv")
        why = explained(runs[0], choose(wrong, rows), EXPLAINING, trust)
    page.write(out, page.of_runs(runs, rows, why, follows))


def at_end(run: Path) -> str:
    """Makes the page of a run that has just ended.

    Returns:
        Where it is, or why there is none: no run fails for the lack of a page.
    """
    try:
        out = outputs.home(run) / page.NAME
        make([run], out, page.SHOWN)
    except Exception as error:
        return f"no page was made: {first_line(error)}"
    return folder.short(out)


def for_others(run: Path, texts: bool) -> str:
    """The page about a run for a place that others may read, as HTML; empty if none can be made.

    Args:
        run: folder of the run, with the page that :func:`at_end` made.
        texts: whether it may hold texts of the data.
    """
    try:
        if texts:
            return (outputs.home(run) / page.NAME).read_text(encoding="utf-8")
        return page.of_runs([run], most=0, texts=False)
    except Exception:  # what it lacks was said when the page of the run was made
        return ""


def follow(runs: Sequence[Path], out: Path, rows: int) -> None:
    """Makes the page again whenever a run has written something, until all runs have ended.

    Args:
        runs: folder of each run.
        out: the file to write.
        rows: rows of the test that are shown.
    """
    seen: object = None
    for stamp in _stamps(runs):
        if stamp == seen:
            continue
        seen = stamp
        # a file may be looked at while it is replaced
        with contextlib.suppress(FileNotFoundError):
            make(runs, out, rows, follows=True)
    make(runs, out, rows)


def _stamps(runs: Sequence[Path]) -> Iterator[object]:
    """What changes if a run has written something; ends when all runs have."""
    ended = None
    while True:
        files = [run / name for run in runs for name in ("metrics.csv", "run.json", "epochs.csv")]
        yield [file.stat().st_mtime_ns for file in files if file.is_file()]
        if not any(is_running(run) for run in runs):
            ended = time.monotonic() if ended is None else ended
            told = all((run / "verdict.json").is_file() for run in runs)
            if told or any(_status(run) != "done" for run in runs):
                return
            if time.monotonic() - ended > SETTLES:
                return
        time.sleep(EVERY)


def is_running(run: Path) -> bool:
    """Whether a run trains: it says so, and its process holds the folder."""
    return _status(run) == "running" and folder.is_locked(run)


def _status(run: Path) -> str:
    return str(records.facts(run).get("status", ""))
