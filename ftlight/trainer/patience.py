"""The callback that stops a run which gets no better."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

from ftlight.data.module import DataModule
from ftlight.freezing.auto import LEAST_ROWS
from ftlight.run.state import RunState
from ftlight.trainer.best import LOSS

DEFAULT = 3  # validations


def settled(rows: int, planned: bool) -> int:
    """Validations after which a run stops, if trainer.patience is not given.

    Few rows do not end a run that has a planned end: three validations without a better score are
    chance then, and the rate has not fallen yet.

    Args:
        rows: validation rows.
        planned: whether the run has a time limit, for which its steps are planned.

    >>> settled(20, planned=True), settled(500, planned=True), settled(20, planned=False)
    (0, 3, 3)
    """
    return 0 if planned and 0 < rows < LEAST_ROWS else DEFAULT


def settle(run: RunState, options: dict[str, Any], data: Any) -> None:
    """Sets the patience of a run to which none was given. A run records it if it is none.

    Args:
        run: state of the run.
        options: options of its trainer.
        data: its data module.
    """
    run.too_few = 0
    if run.patience is not None:
        return
    planned = run.budget is not None and isinstance(data, DataModule) and data.has("validation")
    rows = len(data.load_split("validation")) if planned else 0
    run.patience = settled(rows, planned)
    if run.patience:
        return
    run.too_few = rows
    options["patience"] = 0
    if run.config:
        run.config["trainer"]["patience"] = 0


class Patience(EarlyStopping):
    """Lightning's early stopping, but that it waits for the first right answer.

    As long as the score is 0 and has never been above, a validation with a lower loss than all
    before is progress: few rows with rare answers, such as entities, show none for some epochs.

    Args:
        monitor: name of the logged value that is the score.
        mode: max if a higher score is better, else min.
        patience: validations in a row without progress after which the run stops.
    """

    def __init__(self, monitor: str, mode: str, patience: int) -> None:
        # not strict: a run may end, by max_steps say, before it validates
        super().__init__(monitor, mode=mode, patience=patience, check_finite=False, strict=False)
        self.least = math.inf  # the lowest loss while nothing was right

    @property
    def state_key(self) -> str:
        """That of Lightning's, whose state a checkpoint of before holds."""
        return f"EarlyStopping{ {'monitor': self.monitor, 'mode': self.mode}!r}"

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Counts a validation without a better score, unless nothing is right yet."""
        values = trainer.callback_metrics
        loss, score = (float(values.get(name, math.nan)) for name in (LOSS, self.monitor))
        is_measured = trainer.state.fn == "fit" and not trainer.sanity_checking
        nothing_right = self.mode == "max" and score == 0 and not float(self.best_score) > 0
        if is_measured and nothing_right and loss < self.least:
            self.least, self.wait_count = loss, -1  # Lightning adds one
        super().on_validation_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Adds the lowest loss."""
        return {**super().state_dict(), "least": self.least}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the lowest loss, if the checkpoint has it."""
        super().load_state_dict(state_dict)
        self.least = state_dict.get("least", math.inf)
