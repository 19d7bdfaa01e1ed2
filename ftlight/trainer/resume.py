"""A run that can be stopped anywhere and goes on as if it had not been: what a checkpoint holds, and when it is written."""

from __future__ import annotations

import logging
import random
import re
import shlex
import signal
import time
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, Timer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from ftlight.data.module import DataModule
from ftlight.data.sampling import run_seed
from ftlight.run import folder as runs
from ftlight.training import checkpoint as files
from ftlight.training import optim
from ftlight.training.signals import Agreement, RunInterrupted, Signals, status
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)
KEY = "ftlight"  # of our part of a checkpoint
APART = 60.0  # seconds between saves at beginnings of epochs
UNITS = {"s": 1, "m": 60, "h": 3600}
TRAIN, VALIDATION = 0, 1


def seed(device: str, *key: int) -> None:
    """Makes the global random numbers (torch, numpy, Python) a function of a key.

    A step's random numbers then depend on where it is in the run alone, not on what was drawn before: by a validation, by a
    cache that was there already, by a process that was killed.

    Args:
        device: type of device that the process computes on, beside the CPU.
        key: numbers that are not negative.
    """
    low, high, other = np.random.SeedSequence(key).generate_state(3).tolist()
    number = low | high << 32
    torch.default_generator.manual_seed(
        number
    )  # 1 us, where torch.manual_seed takes 140 to look for devices
    if device == "cuda":
        torch.cuda.manual_seed(number)
    elif device != "cpu":
        torch.manual_seed(number)
    np.random.seed(other)
    random.seed(other)


def interval(every: int | str) -> tuple[int, float]:
    """Optimizer steps and seconds between checkpoints; 0 steps for none by steps.

    Raises:
        UserError: it is neither a number of steps nor a duration.

    >>> interval(500), interval("10m"), interval("90s")
    ((500, inf), (0, 600.0), (0, 90.0))
    """
    if isinstance(every, int) or every.isdigit():
        if int(every) > 0:
            return int(every), float("inf")
    elif (found := re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", every)) and float(found[1]) > 0:
        return 0, float(found[1]) * UNITS[found[2]]
    raise UserError(
        f"trainer.save_every: {every} is not how often to save; give steps (500) or a time (30s, 10m, 2h)"
    )


class Last(Checkpoint):
    """Keeps last.ckpt, and the one before it, with all that is needed to go on; stops the run when a signal asks for it.

    It is written between optimizer steps: when it is time, at the end, and on a signal, also during a validation, which is
    then run again from its start.

    Args:
        every: optimizer steps, or time (30s, 10m, 2h), between checkpoints.
        signals: the signals received.
    """

    def __init__(self, every: int | str, signals: Signals) -> None:
        self.steps, self.seconds = interval(every)
        self.signals, self.agreement = signals, Agreement()
        self.saved, self.saved_step, self.signum, self.ended = time.monotonic(), -1, 0, False
        self.broken_off = False  # a validation, which is to be run again
        self.restored: dict[str, Any] | None = None

    # When

    def on_fit_start(self, trainer: Any, task: Any) -> None:
        """Takes out of metrics.csv what was written after the checkpoint: it will be written again."""
        if trainer.goes_on and trainer.is_global_zero and self.restored is not None:
            runs.truncate_metrics(trainer.folder, self.restored["metrics"])

    def on_train_start(self, trainer: Any, task: Any) -> None:
        """Takes up what a checkpoint says of the epoch it was made in."""
        self.on_fit_start(trainer, task)  # some strategies restore a checkpoint only after that
        progress = trainer.fit_loop.epoch_loop.batch_progress.total
        progress.ready = (
            progress.completed
        )  # a batch that was fetched but not trained on will be fetched again
        self.saved = time.monotonic()
        if self.restored is not None and trainer.global_rank < len(self.restored["losses"]):
            mine = self.restored["losses"][trainer.global_rank]
            task.train_losses = list(mine.to(task.device).unbind())

    def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, batch_idx: int) -> None:
        """Between two steps saves, when it is time, or stops; then seeds the step."""
        if self.restored is not None and not self.restored["validating"]:
            trainer.fit_loop.epoch_loop._batches_that_stepped = self.restored[
                "stepped"
            ]  # Lightning counts one more
        self.restored = None
        if batch_idx % trainer.accumulate_grad_batches == 0:
            step = trainer.global_step
            passed = time.monotonic() - self.saved
            due = passed >= self.seconds or (batch_idx == 0 and step > 0 and passed >= APART)
            signum, due = self.agreement.reached(trainer, self.signals.received, due)
            # a validation that max_steps brings about cannot be gone on from: Lightning would take the run for done
            counted = (bool(self.steps) and step % self.steps == 0) or step + 1 == optim.max_steps(
                trainer
            )
            if due or signum or (counted and step not in (0, self.saved_step)):
                self.save(trainer)
            if signum:
                self._stop(trainer, signum)
        seed(
            trainer.strategy.root_device.type,
            run_seed(),
            TRAIN,
            trainer.current_epoch,
            batch_idx,
            trainer.global_rank,
        )

    def on_train_end(self, trainer: Any, task: Any) -> None:
        """Where nothing was validated, the weights at the end are the best ones too."""
        if trainer.best_path is not None and (
            trainer.best is None or not trainer.strategy.broadcast(trainer.best_path.is_file())
        ):
            trainer.save_checkpoint(trainer.best_path, weights_only=True)

    def on_validation_start(self, trainer: Any, task: Any) -> None:
        """Counts the batches that every process has: in these they can ask each other."""
        self.common = min(trainer.num_val_batches, default=0)
        if trainer.world_size > 1 and trainer.fitting:
            fewest = torch.tensor(min(self.common, 1 << 30), device=trainer.strategy.root_device)
            torch.distributed.all_reduce(fewest, torch.distributed.ReduceOp.MIN)
            self.common = int(fewest)

    def on_validation_batch_start(
        self, trainer: Any, task: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Breaks a validation off when a signal asks for it."""
        if not trainer.fitting or trainer.sanity_checking:
            return
        if trainer.world_size == 1 or (dataloader_idx == 0 and batch_idx < self.common):
            self.signum = (
                self.signum or self.agreement.reached(trainer, self.signals.received, False)[0]
            )
        if self.signum and not _half(trainer):
            raise StopIteration  # which the loop takes for the end of the data
        seed(
            trainer.strategy.root_device.type,
            run_seed(),
            VALIDATION,
            trainer.global_step,
            batch_idx,
            trainer.global_rank,
        )

    def on_validation_epoch_end(self, trainer: Any, task: Any) -> None:
        """Saves and stops instead of measuring a validation that was broken off."""
        if (
            trainer.fitting
            and not trainer.sanity_checking
            and (signum := self._any(trainer))
            and not _half(trainer)
        ):
            if not trainer.should_stop:
                self.broken_off = True
                self.save(trainer)
            self._stop(trainer, signum)

    def on_test_batch_start(
        self, trainer: Any, task: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Breaks off the test at the end of a fit when a signal asks for it."""
        if trainer.fitting and self.signals.received:
            raise StopIteration

    def on_test_epoch_end(self, trainer: Any, task: Any) -> None:
        """Stops instead of measuring a test that was broken off; the training is saved."""
        if trainer.fitting and (signum := self._any(trainer)):
            self._stop(trainer, signum)

    def obey(self, trainer: Any) -> None:
        """Saves and stops, between steps of one process, where a signal asked for it."""
        if self.signals.received:
            self.save(trainer)
            self._stop(trainer, self.signals.received)

    def _any(self, trainer: Any) -> int:
        """The signal of any process, at a place that all reach."""
        self.agreement.every = 1
        return self.signum or self.agreement.reached(trainer, self.signals.received, False)[0]

    def save(self, trainer: Any, ended: bool = False) -> None:
        """Writes last.ckpt; of a run that has ended, where the next one like it has nothing to do."""
        self.ended = ended
        if trainer.folder is not None:
            trainer.save_checkpoint(trainer.folder / "checkpoints" / files.LAST)
            self.saved, self.saved_step = time.monotonic(), trainer.global_step

    def _stop(self, trainer: Any, signum: int) -> None:
        # the launcher of Lightning kills all processes when one of those it started exits with another status than 0
        launcher = trainer.strategy.launcher
        own = (
            isinstance(launcher, _SubprocessScriptLauncher)
            and not launcher.cluster_environment.creates_processes_externally
        )
        name, place = signal.Signals(signum).name, shlex.quote(runs.short(trainer.folder))
        log.info(
            "stopped by %s at step %s; to go on: python -m ftlight fit --resume %s",
            name,
            trainer.global_step,
            place,
        )
        raise RunInterrupted(signum, 0 if own and trainer.local_rank > 0 else status(signum))

    # What

    def on_save_checkpoint(self, trainer: Any, task: Any, checkpoint: dict[str, Any]) -> None:
        """Adds what Lightning leaves out: the losses of the epoch so far, the length of metrics.csv, the number of epochs."""
        losses = (
            torch.stack(task.train_losses).float().cpu() if task.train_losses else torch.zeros(0)
        )
        everyone: list[Any] = [losses]
        if trainer.world_size > 1:
            everyone = [None] * trainer.world_size
            torch.distributed.all_gather_object(everyone, losses)
        checkpoint[KEY] = {
            "losses": everyone,
            "stepped": trainer.fit_loop.epoch_loop._batches_that_stepped,
            "validating": trainer.validating,
            "metrics": runs.length(trainer.folder),
            "max_epochs": trainer.max_epochs if trainer.auto_epochs else None,
            "processes": trainer.world_size,
            "ended": _limits(trainer) if self.ended else None,
            "left": optim.batches_left(trainer),
        }
        loops = checkpoint["loops"]["fit_loop"]
        if (
            self.broken_off
        ):  # Lightning then begins the validation, and does not train on the batch before it again
            zero, begun = (
                dict.fromkeys(("ready", "completed", "started", "processed"), 0),
                {"ready": 1, "started": 1},
            )
            loops["epoch_loop.val_loop.batch_progress"] = {
                "total": {**zero, **begun},
                "current": zero,
                "is_last_batch": False,
            }
            self.broken_off = False
        batches = loops["epoch_loop.batch_progress"]
        if (
            batches["total"]["ready"] > batches["total"]["started"]
        ):  # of a batch that will be fetched again
            batches["is_last_batch"] = False

    def on_load_checkpoint(self, trainer: Any, task: Any, checkpoint: dict[str, Any]) -> None:
        """Takes up what :meth:`on_save_checkpoint` added.

        Raises:
            UserError: the checkpoint was made where nothing can be gone on from.
        """
        state = checkpoint.get(KEY)
        if state is None or trainer.state.fn != "fit":
            return
        _check_place(trainer, checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"])
        self.restored = state
        if trainer.auto_epochs and state["max_epochs"]:
            trainer.fit_loop.max_epochs = state["max_epochs"]
        waited = False
        for stopping in trainer.early_stopping_callbacks:
            held = checkpoint["callbacks"].get(stopping.state_key, {"wait_count": 0})
            held["patience"] = stopping.patience  # Lightning would take that of the checkpoint
            waited |= held["wait_count"] >= stopping.patience
        reached = 0 < optim.max_steps(trainer) <= checkpoint["global_step"]
        trainer.should_stop = waited or reached or state["ended"] == _limits(trainer)
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
        ended, step = (
            trainer.should_stop or 0 < (trainer.max_epochs or 0) <= epochs,
            f"{checkpoint['global_step']:,}",
        )
        log.info(
            "nothing is left to train after step %s"
            if ended
            else f"going on from step %s, epoch {epochs + 1}",
            step,
        )
        if state["ended"] and state["left"] and not ended:
            log.info(
                "the run had ended within an epoch: the other %d batches of that are left out",
                state["left"],
            )
        if state["processes"] != trainer.world_size:
            then, now = state["processes"], trainer.world_size
            log.info(
                "%d processes go on instead of %d: with the same rows in each step, but weights will not be bit-equal",
                now,
                then,
            )


def _limits(trainer: Any) -> list[Any]:
    """What ends a run: where it is the same, a run that has ended has nothing left to do."""
    timers = [c._duration for c in trainer.callbacks if isinstance(c, Timer)]
    return [
        trainer.max_epochs,
        optim.max_steps(trainer),
        [c.patience for c in trainer.early_stopping_callbacks],
        timers,
    ]


def _half(trainer: Any) -> bool:
    """Whether gradients of a step that is not complete wait: no checkpoint holds them."""
    loop = trainer.fit_loop.epoch_loop
    return (
        bool((loop.batch_idx + 1) % trainer.accumulate_grad_batches)
        and not loop.batch_progress.is_last_batch
    )


def _check_place(trainer: Any, batches: dict[str, Any]) -> None:
    """Refuses a checkpoint that a callback made after the last batch of an epoch, and warns where data cannot go on in the middle."""
    done = batches["current"]
    if batches["is_last_batch"] and done["processed"] == done["completed"] + 1:
        raise UserError(
            "the checkpoint was made between the last batch of an epoch and its validation; take last.ckpt, or another"
        )
    if (
        not isinstance(trainer.datamodule, DataModule)
        and 0 < done["completed"]
        and not batches["is_last_batch"]
    ):
        log.warning(
            "the data are none of ftlight's, and begin the epoch anew: some rows are seen twice, and some may not be at all"
        )
