"""The callback that keeps the best weights."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer import calibrating, outcomes
from ftlight.trainer.saving import save
from ftlight.trainer.scores import show
from ftlight.training import checkpoint as files
from ftlight.training.lightning_internals import is_dry_run
from ftlight.utils.atomic import atomic_write, writing
from ftlight.utils.distributed import first_decides
from ftlight.utils.errors import UserError, did_you_mean, join_limited

log = logging.getLogger(__name__)
LOSS = "val/loss"


def is_better(new: tuple[float, float], old: tuple[float, float], sign: float) -> bool:
    """Whether weights are better than others: by score, and of equal scores by lower loss.

    Few rows often give equal scores; the loss then still tells which probabilities are better.

    Args:
        new: score and validation loss; nan is worse than any number.
        old: those of the others.
        sign: 1 if a higher score is better, -1 if a lower one is.

    >>> is_better((0.9, 0.2), (0.9, 0.3), 1), is_better((0.9, 0.3), (0.9, 0.3), 1)
    (True, False)
    >>> is_better((0.8, 0.1), (0.9, 0.3), 1), is_better((math.nan, 0.1), (0.0, 0.3), 1)
    (False, False)
    """

    def ranked(pair: tuple[float, float]) -> tuple[float, float]:
        score, loss = sign * pair[0], -pair[1]
        return (
            -math.inf if math.isnan(score) else score,
            -math.inf if math.isnan(loss) else loss,
        )

    return ranked(new) > ranked(old)


def is_cut_short(losses: Sequence[float], score: float | None, mcc: float | None) -> bool:
    """Whether a run that reached its last step was still learning, and had not learned much.

    That is so if its last validation has the lowest loss of all, by 1 % or more, and its best
    score is that of knowing nothing. It is never said of what may be overfitting or noise.

    Args:
        losses: validation losses in order.
        score: the best score, of which higher is better; None if it is not defined.
        mcc: Matthews' correlation of the weights that are kept; None if it is not known.

    >>> is_cut_short([2.0, 1.9, 1.7], 0.0, None), is_cut_short([1.4, 1.3], 0.17, 0.0)
    (True, True)
    >>> is_cut_short([2.0, 1.7], 0.4, 0.3), is_cut_short([1.7, 1.8], 0.0, 0.0)
    (False, False)
    >>> is_cut_short([1.7], 0.0, 0.0), is_cut_short([1.7, 1.699], 0.0, 0.0)
    (False, False)
    """
    falls = len(losses) > 1 and losses[-1] < 0.99 * min(losses[:-1])
    knows_nothing = any(value is not None and value <= 0 for value in (score, mcc))
    return falls and knows_nothing and all(map(math.isfinite, losses))


class Best(Checkpoint):
    """Keeps the weights with the best score as best.ckpt; of equal scores that of the lowest loss.

    A run that starts from the checkpoint of another takes the best weights of that along.

    Args:
        run: state of the run.
        monitor: name of the logged value that is the score.
        mode: max if a higher score is better, else min.

    Attributes:
        score: score of the weights that are kept; None if it is not defined.
        chosen: the same on the rows that choose: all, or those that do not calibrate.
        loss: their validation loss.
        epoch: the epoch, from 1, in which they were measured; None if that is not known.
        step: the optimizer step at which they were measured.
        tied: the first epoch with the same score, whose weights had a higher loss; None if none.
        losses: validation losses so far.
        mcc: Matthews' correlation of the weights that are kept; None if it is not known.
        interval: ends of the 95 % interval of the score; None if it has none.
        shown: rows of the table of their validation, for the screen.
        outcomes: how good they are on each row of it.
    """

    def __init__(self, run: RunState, monitor: str, mode: str) -> None:
        self.run = run
        self.monitor = monitor
        self.sign = -1.0 if mode == "min" else 1.0
        self.score: float | None = None
        self.chosen: float | None = None
        self.loss = math.nan
        self.epoch: int | None = None
        self.step: int | None = None
        self.tied: int | None = None
        self.losses: list[float] = []
        self.mcc: float | None = None
        self.interval: tuple[float, float] | None = None
        self.shown: list[tuple[str, str]] = []
        self.outcomes: dict[str, Tensor] = {}
        self.best_model_path = ""  # Lightning reads this attribute

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the weights if they are the best so far.

        Raises:
            UserError: the monitored value is not among the logged ones.
        """
        path = self.run.best_path
        if path is None or trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        if is_dry_run(trainer):
            return
        assert isinstance(pl_module, Task)
        value, loss = self._value(trainer), float(trainer.callback_metrics.get(LOSS, math.nan))
        self.losses.append(loss)
        held, chosen = calibrating.hold_out(pl_module, self.monitor, value)
        old = math.nan if self.chosen is None else self.chosen
        wanted = not self.best_model_path or is_better((chosen, loss), (old, self.loss), self.sign)
        wanted = trainer.strategy.reduce_boolean_decision(wanted, all=False)
        if wanted:
            measured = "val" in pl_module.evidence
            calibration = calibrating.fit(pl_module, held) if measured else None
            pl_module.calibration = calibration
            # what cannot be written waits in memory, and last.ckpt for it
            save(trainer, self.run, path, weights_only=True, keep=True)
            pl_module.calibration = None  # training goes on with other weights
            self.best_model_path = str(path)
            self.score, self.loss = None if math.isnan(value) else value, loss
            self.tied = (self.tied or self.epoch) if chosen == self.chosen else None
            self.chosen = None if math.isnan(chosen) else chosen
            self.epoch, self.step = trainer.current_epoch + 1, trainer.global_step
            self.mcc, self.interval = None, None
            if measured:
                found, name = pl_module.evidence["val"], self.monitor.removeprefix("val/")
                self.mcc, ends = found.values.get("mcc"), found.intervals.get(name, ())
                low_and_high = ends if all(map(math.isfinite, ends)) else ()  # nan of few rows
                self.interval = low_and_high or None
            self.shown = show(pl_module, "val") if measured else []
            if calibration is not None and (line := calibration.line()):
                self.shown.append(("calibrated", line))
            self.outcomes = outcomes.of(pl_module, "val") if measured else {}

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
        """The best score, with what is known of it, and the file of its weights."""
        return {
            "score": self.score,
            "chosen": self.chosen,
            "loss": self.loss,
            "epoch": self.epoch,
            "step": self.step,
            "tied": self.tied,
            "losses": self.losses,
            "interval": self.interval,
            "mcc": self.mcc,
            "shown": [list(row) for row in self.shown],
            "outcomes": self.outcomes,
            "path": self.best_model_path,
        }

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restores the best score, if its weights are still there and intact."""
        state = checkpoint["callbacks"].get(self.state_key)
        path = self.run.best_path
        if state is None or path is None or trainer.state.fn != "fit" or not state["path"]:
            return
        first_decides(trainer, lambda: self._copy(Path(state["path"]), path))
        why = files.fault(path)
        if why:
            log.warning("%s: %s; the next validation makes it anew", path, why)
            return
        score, self.best_model_path = state["score"], str(path)
        self.score = None if score is None else float(score)
        chosen = state.get("chosen", score)
        self.chosen = None if chosen is None else float(chosen)
        # checkpoints of 0.1 have the score alone: an equal one does not replace it
        self.loss = float(state.get("loss", -math.inf))
        self.epoch, self.step = state.get("epoch"), state.get("step")
        self.tied = state.get("tied")
        self.losses, mcc = [float(loss) for loss in state.get("losses", [])], state.get("mcc")
        self.mcc = None if mcc is None else float(mcc)
        self.interval = tuple(map(float, state.get("interval") or ())) or None  # type: ignore
        self.shown = [(name, value) for name, value in state.get("shown", [])]
        self.outcomes = state.get("outcomes", {})

    def _copy(self, old: Path, path: Path) -> None:
        """Copies the best weights of the run that a checkpoint is of, unless this run has some."""
        is_other = old.is_file() and old.resolve() != path.resolve()
        if is_other and not (self.run.resume and path.is_file()):
            with writing(path), old.open("rb") as source, atomic_write(path) as copy:
                shutil.copyfileobj(source, copy)
