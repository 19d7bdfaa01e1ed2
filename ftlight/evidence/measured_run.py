"""A run as it was measured on the rows of a split, beside which cheap models are put."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ftlight.baselines.ladder import Ladder
from ftlight.data.module import DataModule
from ftlight.evidence import comparing
from ftlight.evidence.baselines import Measured
from ftlight.run import folder, outcomes, records
from ftlight.utils.errors import UserError
from ftlight.utils.spent import Spent

RUN = "this run"


def split_of(run: Path, home: Path, data: DataModule) -> str:
    """The split that a run was measured on: its test, else its validation.

    Args:
        run: folder of the run.
        home: where a test wrote if the run cannot be written.
        data: its data module.

    Raises:
        UserError: it was measured on none.
    """
    for split in comparing.SPLITS:
        if data.has(split) and place(run, home, split) is not None:
            return split
    raise comparing.unmeasured(run)


def place(run: Path, home: Path, split: str) -> Path | None:
    """Where the outcomes of a run lie; None if there are none."""
    places = (path for path in (home, run) if (path / f"outcomes-{split}.npz").is_file())
    return next(places, None)


def read(
    run: Path,
    home: Path,
    ladder: Ladder,
    data: DataModule,
    split: str,
    name: str = RUN,
    rows: int | None = None,
) -> Measured:
    """A run as it was measured, with what it took.

    Args:
        run: folder of the run.
        home: where a test wrote if the run cannot be written.
        ladder: the cheap models, which may want other scores than its outcomes.
        data: the data module, set up for training.
        split: the split.
        name: name in the table.
        rows: rows that it learned. Default: all.

    Raises:
        UserError: the rows of the split are no longer those, or it was not measured.
    """
    where = place(run, home, split)
    kept = None if where is None else outcomes.read(where / f"outcomes-{split}.npz")
    if where is None or kept is None:
        raise comparing.unmeasured(run)
    if not _are_same(kept, data, split):
        raise UserError(
            f"{folder.short(run)} was measured on other rows of {split} than there are now;"
            f" measure it again: python -m ftlight test {folder.short(run)}"
        )
    scores = kept.scores if ladder.of_run is None else np.asarray(ladder.of_run(where), float)
    facts = records.facts(run)
    spent = Spent(**facts["cost"]) if "cost" in facts else None
    rows = len(data.load_split("train")) if rows is None else rows
    values = comparing.metrics(where, split)
    return Measured(name, rows, scores, values, facts.get("weights"), spent)


def _are_same(kept: outcomes.Outcomes, data: DataModule, split: str) -> bool:
    """Whether outcomes are those of all rows of a split, in their order."""
    table = data.load_split(split)
    keys = data.duplicate_keys(table)
    if not np.array_equal(kept.rows, np.arange(len(table))):
        return False
    return keys is None or kept.keys is None or kept.has_keys(keys)
