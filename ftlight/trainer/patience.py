"""The callback that stops a run which gets no better."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

from ftlight.trainer.best import LOSS


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
