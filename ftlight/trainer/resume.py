"""The callback that writes last.ckpt and stops a run when a signal asks for it."""

from __future__ import annotations

import logging
import signal
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from ftlight.data.sampling import run_seed
from ftlight.run import folder as runs
from ftlight.run.state import RunState, interval
from ftlight.task import Task
from ftlight.trainer import calibrating, resume_state
from ftlight.trainer.best import Best
from ftlight.trainer.saving import missing, save
from ftlight.training import checkpoint as files
from ftlight.training import lightning_internals, optim
from ftlight.training.lightning_internals import callbacks_of
from ftlight.training.seeding import TRAIN, VALIDATION, seed_batch
from ftlight.training.signals import Agreement, RunInterrupted, Signals, status
from ftlight.utils.distributed import first_decides, reduce
from ftlight.utils.errors import WriteError

log = logging.getLogger(__name__)
APART = 60.0  # seconds between saves at the beginnings of epochs


class Last(Checkpoint):
    """Keeps last.ckpt, and the one before it, with all that a run needs to resume.

    It is written between optimizer steps: when it is time, at the end, and on a signal. A signal
    during a validation breaks the validation off; the resumed run repeats it from its start.

    Args:
        run: state of the run.
        signals: the signals received.
    """

    def __init__(self, run: RunState, signals: Signals) -> None:
        self.run = run
        self.signals = signals
        self.steps, self.seconds = interval(run.save_every)
        self.agreement = Agreement()
        self.saved_at = time.monotonic()
        self.saved_step = -1
        self.common: float = 0  # batches of a validation that every process has
        self.signum = 0  # that breaks a validation off
        self.ended = False
        self.broken_off = False
        self.is_cut = False
        self.restored: dict[str, Any] | None = None

    # When

    def on_fit_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Cuts metrics.csv to its length at the checkpoint: the rest will be written again."""
        if self.run.goes_on and self.restored is not None and not self.is_cut:
            length = self.restored["metrics"]
            first_decides(trainer, lambda: runs.truncate_metrics(self.run.home, length))
            self.is_cut = True

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Restores the losses of the epoch in which a checkpoint was made."""
        assert isinstance(task, Task)
        self.on_fit_start(trainer, task)  # some strategies restore a checkpoint only after that
        progress = trainer.fit_loop.epoch_loop.batch_progress.total
        # a batch that was fetched but not trained on will be fetched again
        progress.ready = progress.completed
        self.saved_at = time.monotonic()
        if self.restored is not None and trainer.global_rank < len(self.restored["losses"]):
            losses = self.restored["losses"][trainer.global_rank]
            task.train_losses = list(losses.to(task.device).unbind())

    def on_train_batch_start(
        self, trainer: L.Trainer, task: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Saves or stops between two steps, then seeds the step."""
        if self.restored is not None and not self.restored["validating"]:
            # Lightning counts one more
            lightning_internals.set_batches_that_stepped(trainer, self.restored["stepped"])
        self.restored = None
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._between_steps(trainer, batch_idx)
        seed_batch(trainer, run_seed(), TRAIN, trainer.current_epoch, batch_idx)

    def _between_steps(self, trainer: L.Trainer, batch_idx: int) -> None:
        step = trainer.global_step
        passed = time.monotonic() - self.saved_at
        due = passed >= self.seconds or (batch_idx == 0 and step > 0 and passed >= APART)
        signum, due = self.agreement.sync(trainer, self.signals.received, due)
        # No run can resume from the validation that max_steps brings about: Lightning would take
        # it for done. So the step before that is saved.
        counted = bool(self.steps) and step % self.steps == 0
        counted = counted or step + 1 == optim.max_steps(trainer)
        if due or signum or (counted and step not in (0, self.saved_step)):
            self.save(trainer)
        if signum:
            self._stop(trainer, signum)

    def on_validation_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Counts the batches that every process has: during these they can ask each other."""
        self.common = min(trainer.num_val_batches, default=0)
        if trainer.world_size > 1 and self.run.fitting:
            device = trainer.strategy.root_device
            mine = [min(self.common, 1 << 24)]  # the most that fp32 counts exactly
            self.common = reduce(mine, "min", device, trainer.world_size)[0]

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        task: L.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Breaks a validation off when a signal asks for it."""
        if not self.run.fitting or trainer.sanity_checking:
            return
        all_are_here = dataloader_idx == 0 and batch_idx < self.common
        if not self.signum and (trainer.world_size == 1 or all_are_here):
            self.signum = self.agreement.sync(trainer, self.signals.received, False)[0]
        if self.signum and not _within_step(trainer):
            raise StopIteration  # the loop takes it for the end of the data
        seed_batch(trainer, run_seed(), VALIDATION, trainer.global_step, batch_idx)

    def on_validation_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Saves and stops, instead of measuring a validation that was broken off."""
        if not self.run.fitting or trainer.sanity_checking:
            return
        signum = self._signal_of_any(trainer)
        if signum and not _within_step(trainer):
            if trainer.state.fn == "fit" and not trainer.should_stop:  # else all is saved
                self.broken_off = not self.run.between_steps
                self.save(trainer)
            self._stop(trainer, signum)

    def on_test_batch_start(
        self,
        trainer: L.Trainer,
        task: L.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Breaks off the test at the end of a fit when a signal asks for it."""
        if self.run.fitting and self.signals.received:
            raise StopIteration

    def on_test_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Stops, instead of measuring a test that was broken off; the training is saved."""
        if self.run.fitting and (signum := self._signal_of_any(trainer)):
            self._stop(trainer, signum)

    def obey(self, trainer: L.Trainer) -> None:
        """Saves and stops if this process got a signal; for work between steps, of one process."""
        if self.signals.received:
            self.save(trainer)
            self._stop(trainer, self.signals.received)

    def _signal_of_any(self, trainer: L.Trainer) -> int:
        """The signal of any process, at a place that all reach."""
        self.agreement.every = 1
        return self.signum or self.agreement.sync(trainer, self.signals.received, False)[0]

    def end(self, trainer: L.Trainer) -> None:
        """Saves the state at the end; the weights as the best ones if nothing was validated."""
        path = self.run.best_path
        if path is not None and not any(c.best_model_path for c in callbacks_of(trainer, Best)):
            calibrating.adopt(self.run, trainer.lightning_module)  # type: ignore[arg-type]
            save(trainer, self.run, path, weights_only=True, keep=True)
        self.save(trainer, ended=True)

    def save(self, trainer: L.Trainer, ended: bool = False) -> None:
        """Writes last.ckpt.

        Args:
            trainer: the trainer.
            ended: whether the run has reached its end: the same config then has nothing to train.
        """
        self.ended = ended
        if self.run.folder is not None:
            save(trainer, self.run, self.run.checkpoints / files.LAST)
            self.saved_at, self.saved_step = time.monotonic(), trainer.global_step

    def _stop(self, trainer: L.Trainer, signum: int) -> None:
        if self.run.is_unwritten(self.run.checkpoints / files.LAST):
            raise WriteError(f"{signal.Signals(signum).name}: {missing(self.run)}")
        log.info(
            "stopped by %s at step %s; to resume: %s",
            signal.Signals(signum).name,
            trainer.global_step,
            self.run.resume_command,
        )
        raise RunInterrupted(signum, status(signum))

    # What

    def on_save_checkpoint(
        self, trainer: L.Trainer, task: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds what Lightning leaves out."""
        assert isinstance(task, Task)
        checkpoint[resume_state.KEY] = resume_state.collect(trainer, self.run, task, self.ended)
        resume_state.mend_progress(checkpoint, self.broken_off)
        self.broken_off = False

    def on_load_checkpoint(
        self, trainer: L.Trainer, task: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restores what :meth:`on_save_checkpoint` added.

        Raises:
            UserError: no run can resume from where the checkpoint was made.
        """
        if trainer.state.fn == "fit" and resume_state.KEY in checkpoint:
            self.restored, self.is_cut = checkpoint[resume_state.KEY], False
            resume_state.restore(trainer, self.run, checkpoint)


def _within_step(trainer: L.Trainer) -> bool:
    """Whether a step is not complete: no checkpoint holds the gradients that wait."""
    loop = trainer.fit_loop.epoch_loop
    is_complete = (loop.batch_idx + 1) % trainer.accumulate_grad_batches == 0
    return not is_complete and not loop.batch_progress.is_last_batch
