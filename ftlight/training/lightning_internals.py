"""What ftlight needs of Lightning beyond its public interface, each with the reason.

Nothing else in the package uses a private name of Lightning, but for methods that it overrides;
``tests/training/test_lightning_internals.py`` checks that, and that each of these behaves as
expected in the pinned version.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

import lightning as L
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, Timer, WeightAveraging
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from torch import Tensor
from torch.optim.swa_utils import get_swa_avg_fn

from ftlight.training.checkpoint_shape import misshapen, moments_fault, restoring, unlike

C = TypeVar("C", bound=Callback)
S = TypeVar("S", bound=_SignalConnector)
# Lightning's own saves inside the signal handler; there is no option for another.
SignalConnector = _SignalConnector


class CheckpointConnector(_CheckpointConnector):
    """Restores in a way that names a misshapen file, and never resumes by itself.

    Under SLURM Lightning takes any hpc_ckpt_N.ckpt that it finds.
    """

    _hpc_resume_path = None

    def _restore_modules_and_callbacks(self, checkpoint_path: Any = None, *rest: Any) -> None:
        with restoring(checkpoint_path):
            super()._restore_modules_and_callbacks(checkpoint_path, *rest)

    def restore_callbacks(self) -> None:
        """Restores callbacks; the state of those that are not a user's own is compared first."""
        states = self._loaded_checkpoint.get("callbacks") or {}
        for callback in callbacks(self.trainer):
            if type(callback).__module__.startswith(("ftlight.", "lightning.")):
                key, own = callback.state_key, dict(callback.state_dict())
                for name in ("options", "schedule"):  # Freezing says what differs
                    own.pop(name, None)
                if isinstance(callback, Timer):  # one that has not begun has whole seconds
                    own["time_elapsed"] = {k: float(v) for k, v in own["time_elapsed"].items()}
                self._compare(states.get(key, {}), own, f"callbacks.{key}")
        super().restore_callbacks()

    def restore_training_state(self) -> None:
        """Restores loops and optimizers."""
        with restoring(self._ckpt_path):
            super().restore_training_state()

    def restore_loops(self) -> None:
        """Restores the place in the run; one that has more epochs than are asked for is done."""
        with contextlib.suppress(MisconfigurationException):
            super().restore_loops()

    def restore_optimizers(self) -> None:
        """Restores the optimizers, and compares their options and the sizes of their state."""
        before = [_options(optimizer) for optimizer in self.trainer.optimizers]
        states = len(self._loaded_checkpoint["optimizer_states"])
        if states != len(before):  # Lightning restores as many as there are
            raise misshapen(self._ckpt_path, f"optimizer_states are {states}, not {len(before)}")
        super().restore_optimizers()
        for optimizer, own in zip(self.trainer.optimizers, before, strict=True):
            found = _options(optimizer)
            self._compare(found, own, "optimizer_states", sound=True)
            for mine, theirs in zip(own, found, strict=True):
                if lacks := mine.keys() - theirs.keys():
                    raise misshapen(self._ckpt_path, f"optimizer_states lack {min(lacks)}")
            if why := moments_fault(optimizer):
                raise misshapen(self._ckpt_path, why)

    def _compare(self, found: Any, own: Any, place: str, sound: bool = False) -> None:
        fault = unlike(found, own, place, sound)
        if fault:
            raise misshapen(self._ckpt_path, fault)


def _options(optimizer: Any) -> list[dict[str, Any]]:
    """The options that an optimizer has for each group of parameters, but where it computes."""
    left_out = {"params", "fused", "foreach", "capturable"}
    return [
        {name: value for name, value in group.items() if name not in left_out}
        for group in optimizer.param_groups
    ]


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


def take_back_steps(trainer: L.Trainer, steps: int) -> None:
    """Sets ``global_step`` back: it is a property, of the optimizer's steps."""
    taken = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    taken.ready -= steps
    taken.completed -= steps


def validate_when(trainer: L.Trainer, is_due: Callable[[], bool]) -> None:
    """Validates after a batch if something is due, beside when the options say so.

    Lightning asks this after each batch, and when it resumes within a validation.
    """
    loop = trainer.fit_loop.epoch_loop
    by_options = type(loop)._should_check_val_fx

    def should_check(data_fetcher: Any) -> bool:
        return is_due() or by_options(loop, data_fetcher)

    loop._should_check_val_fx = should_check  # type: ignore[method-assign]


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
