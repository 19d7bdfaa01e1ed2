"""The callback that keeps the best weights."""

from __future__ import annotations

import logging
import math
import shutil
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from ftlight.training import checkpoint as files
from ftlight.utils.errors import UserError, did_you_mean, join_limited

log = logging.getLogger(__name__)


class Best(Checkpoint):
    """Keeps the weights that are best by the task's monitor as best.ckpt; a run that goes on in a new folder takes them along."""

    def __init__(self, monitor: str, mode: str) -> None:
        self.monitor, self.sign = monitor, -1.0 if mode == "min" else 1.0
        self.score: float | None = None
        self.best_model_path = ""  # where Lightning looks for it

    def on_validation_end(self, trainer: Any, pl_module: L.LightningModule) -> None:
        """Saves the weights where their score is the best so far; an undefined one is the worst.

        Raises:
            UserError: the monitored value is not among the logged ones.
        """
        if (
            trainer.state.fn != "fit"
            or trainer.sanity_checking
            or trainer.fast_dev_run
            or trainer.best_path is None
        ):
            return
        values = trainer.callback_metrics
        if self.monitor not in values:
            raise UserError(
                f"the monitored value {self.monitor} was not logged{did_you_mean(self.monitor, values)} (there are: {join_limited(values, 20)})"
            )
        value = float(values[self.monitor])
        worse = math.isnan(value) or (
            self.score is not None and self.sign * value <= self.sign * self.score
        )
        first = not self.best_model_path
        # a score counts once its weights are on the disk
        if trainer.strategy.reduce_boolean_decision(
            first or not worse, all=False
        ) and trainer.save_checkpoint(trainer.best_path, True):
            self.best_model_path = str(trainer.best_path)
            self.score = None if math.isnan(value) else value

    def state_dict(self) -> dict[str, Any]:
        """The best score, and where its weights are."""
        return {"score": self.score, "path": self.best_model_path}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Restores the best score, where its weights are still there and whole."""
        state = checkpoint["callbacks"].get(self.state_key)
        if state is None or trainer.state.fn != "fit" or trainer.best_path is None:
            return
        mine, old = trainer.best_path, Path(state["path"] or ".")
        if (
            trainer.is_global_zero
            and old.is_file()
            and old.resolve() != mine.resolve()
            and not (trainer.resume and mine.is_file())
        ):
            mine.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(old, mine)
        trainer.strategy.barrier()
        why = files.fault(mine) if state["path"] else ""
        if why:
            log.warning("%s: %s; the next validation makes it anew", mine, why)
        elif state["path"]:
            self.score, self.best_model_path = state["score"], str(mine)
