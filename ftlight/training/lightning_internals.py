"""What ftlight needs of Lightning beyond its public interface, each with the reason.

Nothing else in the package uses a private name of Lightning, but for methods that it overrides;
``tests/training/test_lightning_internals.py`` checks that, and that each of these behaves as
expected in the pinned version.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

import lightning as L
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.callbacks import Callback, Timer, WeightAveraging
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from torch import Tensor
from torch.optim.swa_utils import get_swa_avg_fn

C = TypeVar("C", bound=Callback)
S = TypeVar("S", bound=_SignalConnector)
# Lightning's own saves inside the signal handler; there is no option for another.
SignalConnector = _SignalConnector


class CheckpointConnector(_CheckpointConnector):
    """Never resumes by itself: under SLURM Lightning takes any hpc_ckpt_N.ckpt that it finds."""

    _hpc_resume_path = None


def set_connectors(trainer: L.Trainer, signals: S) -> S:
    """Replaces Lightning's handling of signals and checkpoints. Returns ``signals``."""
    trainer._signal_connector = signals
    trainer._checkpoint_connector = CheckpointConnector(trainer)
    # a broadcast before every step; signals.Agreement asks about once a second
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    return signals


def dump_checkpoint(trainer: L.Trainer, weights_only: bool) -> dict[str, Any]:
    """The content of a checkpoint: save_checkpoint writes it at once, without an answer."""
    return trainer._checkpoint_connector.dump_checkpoint(weights_only)


def batches_that_stepped(trainer: L.Trainer) -> int:
    """The number of steps that loggers see: Lightning restores one too many within an epoch."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def set_batches_that_stepped(trainer: L.Trainer, steps: int) -> None:
    """Sets the number of steps that loggers see."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = steps


LAUNCHER = "FTLIGHT_LAUNCHER"  # variable with the number of the process that started this one


class Launcher(_SubprocessScriptLauncher):
    """Hands over the processes that it starts.

    Lightning looks every 5 seconds whether one has failed, and then kills all without a word.

    Args:
        like: Lightning's own launcher.
        started: called with the launcher once it has started processes.
    """

    def __init__(
        self, like: _SubprocessScriptLauncher, started: Callable[[Launcher], None]
    ) -> None:
        super().__init__(like.cluster_environment, like.num_processes, like.num_nodes)
        self.started = started

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any
    ) -> Any:
        """Starts the processes of this node, unless others do, and runs the function."""
        environment = self.cluster_environment
        if environment.creates_processes_externally:
            return super().launch(function, *args, trainer=trainer, **kwargs)
        environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        os.environ[LAUNCHER] = str(os.getpid())
        self._call_children_scripts()
        self.started(self)
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*args, **kwargs)


def set_launcher(trainer: L.Trainer, started: Callable[[Launcher], None]) -> None:
    """Replaces the launcher that starts a process for each device, if the trainer has that one."""
    launcher = trainer.strategy.launcher
    if type(launcher) is _SubprocessScriptLauncher:
        trainer.strategy._launcher = Launcher(launcher, started)


def duration(timer: Timer) -> float | None:
    """Seconds after which a timer ends a run: ``time_remaining`` depends on how much has passed."""
    return timer._duration


def has_average(callback: WeightAveraging) -> bool:
    """Whether a callback has an average of the weights yet: before, it has nothing to save."""
    return callback._average_model is not None


def average_floats_alone(trainer: L.Trainer) -> None:
    """Keeps integers out of averages of the weights, before these are made when a fit begins.

    The average of position_ids, which are a buffer, is cut to other integers: validation then saw
    other positions than the model that is saved, and so did the test at the end of a fit.
    """
    for callback in callbacks_of(trainer, WeightAveraging):
        given = callback._kwargs
        if not given.get("multi_avg_fn"):
            average = given.get("avg_fn") or get_swa_avg_fn()  # type: ignore[no-untyped-call]
            given["avg_fn"] = functools.partial(_of_floats, average)


def _of_floats(average: Any, averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
    return average(averaged, current, count) if averaged.is_floating_point() else current


def trainer_of(module: L.LightningModule) -> L.Trainer | None:
    """The trainer of a module; None if it has none, for which ``module.trainer`` raises."""
    return module._trainer


# Lightning's connectors set these attributes of the trainer; its class does not declare them.


def callbacks(trainer: L.Trainer) -> list[Callback]:
    """The callbacks of a trainer, in their order."""
    return trainer.callbacks  # type: ignore[attr-defined]


def callbacks_of(trainer: L.Trainer, kind: type[C]) -> list[C]:
    """The callbacks of a trainer that are of a class."""
    return [c for c in callbacks(trainer) if isinstance(c, kind)]


def datamodule(trainer: L.Trainer) -> Any:
    """The data module of a trainer, or None."""
    return getattr(trainer, "datamodule", None)


def log_every_n_steps(trainer: L.Trainer) -> int:
    """Optimizer steps between two logs; 0 for none."""
    return trainer.log_every_n_steps  # type: ignore[attr-defined]


def is_dry_run(trainer: L.Trainer) -> bool:
    """Whether ``fast_dev_run`` was asked for."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]


def overfits(trainer: L.Trainer) -> bool:
    """Whether ``overfit_batches`` was asked for."""
    return bool(trainer.overfit_batches)  # type: ignore[attr-defined]


def validate_now(trainer: L.Trainer) -> bool:
    """Validates between two steps, as an epoch does at its end. Returns whether there is data."""
    if not trainer.enable_validation:
        return False
    trainer.validating = True  # the loop that is running is found by this
    first_iteration = trainer._logger_connector._first_loop_iter
    stepped = batches_that_stepped(trainer)
    set_batches_that_stepped(trainer, trainer.global_step)  # after a resume it is not right yet
    trainer.fit_loop.epoch_loop.val_loop.run()
    set_batches_that_stepped(trainer, stepped)
    trainer.training = True
    trainer._logger_connector._first_loop_iter = first_iteration
    return True


def begin_averages(trainer: L.Trainer) -> None:
    """Begins averages of the weights, which are copied when a fit is set up, with those of now."""
    for callback in callbacks_of(trainer, WeightAveraging):
        if callback._average_model is not None:
            callback._average_model.module.load_state_dict(trainer.lightning_module.state_dict())
