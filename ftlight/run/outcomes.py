"""How good a run is on each row, as its outcomes-validation.npz and outcomes-test.npz say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ftlight.run.folder import ALL
from ftlight.utils import arrays
from ftlight.utils.errors import UserError

OUT_OF_FOLD = "outcomes-folds.npz"  # of fit --folds, beside its runs
OPTIONAL = ("keys", "twins", "chance", "sure")


class Outcomes(NamedTuple):
    """The rows of an evaluation, in the order of the data.

    Attributes:
        scores: how good each row is, ``float64 [rows]``; more is better.
        keys: what is equal for equal inputs, ``bytes [rows]``; None if the task knows none.
        rows: their numbers in the data, ``int64 [rows]``.
        twins: how like the nearest row of train each is, ``float64 [rows]``; None of validation.
        chance: the score to expect of each row if answers are dealt at random, ``float64 [rows]``;
            None if it is not known.
        sure: how sure the answer of each row is, ``float64 [rows]``; None if it is not known.
    """

    scores: np.ndarray
    keys: np.ndarray | None
    rows: np.ndarray
    twins: np.ndarray | None
    chance: np.ndarray | None = None
    sure: np.ndarray | None = None

    def has_keys(self, keys: Sequence[str]) -> bool:
        """Whether the rows have these keys, in this order; false if theirs are not known."""
        return self.keys is not None and [key.decode() for key in self.keys.tolist()] == list(keys)


def read(path: Path) -> Outcomes | None:
    """Reads a file of outcomes; None if there is none.

    Raises:
        UserError: it is damaged.
    """
    if not path.is_file():
        return None
    remedy = "measure the run again"
    kept = arrays.read(path, remedy)
    try:
        order = np.argsort(kept["rows"], kind="stable")
        keys, *others = (kept[name][order] if name in kept else None for name in OPTIONAL)
        return Outcomes(kept["scores"][order], keys, kept["rows"][order], *others)
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"{path} is damaged; {remedy}") from error


def validation(run: Path) -> Outcomes | None:
    """The outcomes of a run's validation; None if there are none.

    Those of a run on all rows of ``fit --folds`` are of the folds: each row by the run that was not
    trained on it.

    Args:
        run: folder of the run.

    Raises:
        UserError: the file is damaged.
    """
    found = read(run / "outcomes-validation.npz")
    return read(run.parent / OUT_OF_FOLD) if found is None and run.name == ALL else found


def twins(path: Path, keys: Sequence[str]) -> np.ndarray | None:
    """How like the nearest row of train each row is, as a test noted it ``float64 [rows]``.

    Args:
        path: file of the test's outcomes.
        keys: key of each row of the test data.

    Returns:
        None if there is no such file, or it is damaged or of other rows.
    """
    try:
        kept = read(path)
    except UserError:
        return None
    return kept.twins if kept is not None and kept.has_keys(keys) else None
