"""How good the kept weights are on each validation row: outcomes-validation.npz of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ftlight.data.module import DataModule
from ftlight.run.state import RunState
from ftlight.trainer.results import noting
from ftlight.utils.atomic import atomic_write

NAME = "outcomes-validation.npz"


def write(run: RunState, outcomes: dict[str, Tensor], data: Any) -> None:
    """Writes the outcomes of the validation rows into the run's folder, if there are any.

    The file holds ``rows``, ``scores`` and, if the data module knows them, ``keys``: what makes
    rows of other runs the same ones, whatever their number. What has no room is noted.

    Args:
        run: state of the run.
        outcomes: as :meth:`ftlight.task.Task.row_outcomes` gives them.
        data: the data module.
    """
    if not outcomes:
        return
    arrays = {name: values.numpy() for name, values in outcomes.items()}
    if isinstance(data, DataModule) and data.has("validation"):
        keys = data.duplicate_keys(data.load_split("validation"))
        if keys is not None:
            arrays["keys"] = np.array([keys[row].encode() for row in outcomes["rows"].tolist()])
    with noting(run, run.home / NAME) as path, atomic_write(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
