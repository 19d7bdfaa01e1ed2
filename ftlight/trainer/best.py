"""The callback that keeps the best weights."""

from __future__ import annotations

import logging
import math
import shutil
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from ftlight.run.state import RunState
from ftlight.trainer.saving import save
from ftlight.training import checkpoint as files
from ftlight.training.lightning_internals import is_dry_run
from ftlight.utils.errors import UserError, did_you_mean, join_limited

log = logging.getLogger(__name__)


class Best(Checkpoint):
    """Keeps the weights with the best score as best.ckpt.

    A run that starts from the checkpoint of another takes the best weights of that along.

    Args:
        run: state of the run.
        monitor: name of the logged value that is the score.
        mode: max if a higher score is better, else min.
    """

    def __init__(self, run: RunState, monitor: str, mode: str) -> None:
        self.run = run
        self.monitor = monitor
        self.sign = -1.0 if mode == "min" else 1.0
        self.score: float | None = None
        self.best_model_path = ""  # Lightning reads this attribute

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the weights if their score is the best so far; an undefined one is the worst.

        Raises:
            UserError: the monitored value is not among the logged ones.
        """
        path = self.run.best_path
        if path is None or trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        if is_dry_run(trainer):
            return
        value = self._value(trainer)
        is_first = not self.best_model_path
        is_better = not math.isnan(value) and (
            self.score is None or self.sign * value > self.sign * self.score
        )
        wanted = trainer.strategy.reduce_boolean_decision(is_first or is_better, all=False)
        # a score counts once its weights are on the disk
        if wanted and save(trainer, self.run, path, weights_only=True):
            self.best_model_path = str(path)
            self.score = None if math.isnan(value) else value

    def _value(self, trainer: L.Trainer) -> float:
        values = trainer.callback_metrics
        if self.monitor not in values:
            hint = did_you_mean(self.monitor, values)
            raise UserError(
                f"the monitored value {self.monitor} was not logged{hint}"
                f" (there are: {join_limited(values, 20)})"
            )
        return float(values[self.monitor])

    def state_dict(self) -> dict[str, Any]:
        """The best score, and the file of its weights."""
        return {"score": self.score, "path": self.best_model_path}

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restores the best score, if its weights are still there and intact."""
        state = checkpoint["callbacks"].get(self.state_key)
        path = self.run.best_path
        if state is None or path is None or trainer.state.fn != "fit" or not state["path"]:
            return
        if trainer.is_global_zero:
            self._copy(Path(state["path"]), path)
        trainer.strategy.barrier()
        why = files.fault(path)
        if why:
            log.warning("%s: %s; the next validation makes it anew", path, why)
            return
        self.score, self.best_model_path = state["score"], str(path)

    def _copy(self, old: Path, path: Path) -> None:
        """Copies the best weights of the run that a checkpoint is of, unless this run has some."""
        is_other = old.is_file() and old.resolve() != path.resolve()
        if is_other and not (self.run.resume and path.is_file()):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(old, path)
