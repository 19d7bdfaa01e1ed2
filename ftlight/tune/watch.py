"""The callback that cuts a bad trial short, in the process that trains it."""

from __future__ import annotations

import logging
import math
import os
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.training import lightning_internals, optim
from ftlight.tune import pruning, rungs
from ftlight.tune.rungs import FILE
from ftlight.utils.atomic import write_json, writing
from ftlight.utils.distributed import first_decides

log = logging.getLogger(__name__)


class Watch(Callback):
    """Compares a run at each rung with the trials beside it, and stops it if it is no good.

    What was decided is noted in the run, so that one that is killed after it goes on the same way.

    Args:
        run: state of the run.
    """

    def __init__(self, run: RunState) -> None:
        self.run = run
        self.best = -math.inf

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Looks whether a rung is reached."""
        if not self.run.fitting or trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        assert isinstance(task, Task)
        sign = -1.0 if task.mode == "min" else 1.0
        score = sign * float(trainer.callback_metrics.get(task.monitor, math.nan))
        self.best = max(self.best, -math.inf if math.isnan(score) else score)
        steps = optim.total_steps(trainer)
        share = trainer.global_step / steps if steps else 0.0
        number = pruning.rung(share, trainer.global_step / optim.steps_per_epoch(trainer))
        if number is not None and not first_decides(trainer, lambda: self._goes_on(number)):
            trainer.should_stop = True

    def _goes_on(self, number: int) -> bool:
        home = self.run.home
        known = rungs.read(home)
        if number not in known:
            best = self.best if math.isfinite(self.best) else math.nan
            goes_on = pruning.goes_on(best, rungs.beside(home, number)) or home.name.endswith(
                "-000"
            )
            known[number] = (-1e300 if math.isnan(best) else best, goes_on)
            with writing(home / FILE):
                write_json(home / FILE, rungs.as_json(known))
            if not goes_on:
                log.info("cut short: other trials were better at this share of their steps")
        return known[number][1]

    def state_dict(self) -> dict[str, Any]:
        """The best score so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores it."""
        self.best = float(state_dict["best"])


def add(trainer: L.Trainer, run: RunState) -> None:
    """Has a trainer cut its run short if the process is one of a tune's trials."""
    if os.environ.get(rungs.VARIABLE):
        lightning_internals.callbacks(trainer).append(Watch(run))
