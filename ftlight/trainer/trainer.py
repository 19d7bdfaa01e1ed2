"""Lightning's Trainer with a run folder, best and last checkpoint, early stopping and a screen."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, Timer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import Strategy

from ftlight.data.module import DataModule
from ftlight.run import budget as budgets
from ftlight.run import console as screen
from ftlight.run import outputs
from ftlight.run.budget import Budget
from ftlight.run.state import RunState, Unsaved
from ftlight.task import Task
from ftlight.trainer import (
    batch_size,
    calibrating,
    done,
    held_out,
    onnx_export,
    range_test,
    recorded,
    resume_state,
    wise,
)
from ftlight.trainer import export as exports
from ftlight.trainer.best import Best
from ftlight.trainer.closing import conclude
from ftlight.trainer.exported import FOLDERS, Exported
from ftlight.trainer.learning import Start
from ftlight.trainer.options import as_list, only_false, plugins_for, settle_unfreeze
from ftlight.trainer.patience import Patience, settle
from ftlight.trainer.ranges import LIGHTNING, Steps
from ftlight.trainer.resume import Last
from ftlight.trainer.run_folder import RunFolder
from ftlight.trainer.saving import save
from ftlight.trainer.scores import interpolated
from ftlight.trainer.time_limit import TimeLimit
from ftlight.trainer.timing import Timing
from ftlight.training import fsdp, group, lightning_internals
from ftlight.training import precision as precisions
from ftlight.training.lightning_internals import callbacks_of
from ftlight.training.progress import Report
from ftlight.training.signals import Signals
from ftlight.utils.errors import UserError
from ftlight.utils.ranges import Count, NonNegative, PositiveInt, check_ranges

# Other defaults than Lightning's.
DEFAULTS = {"num_sanity_val_steps": 0, "enable_model_summary": False}


class Trainer(L.Trainer):
    """Trains, tests and predicts, each in a run folder of its own, on one device or many.

    Args:
        run: Folder of the run. Default: runs/NAME/TIME. An existing one is refused unless resumed.
        resume: Resume the run in that folder from its latest intact checkpoint; start it if it
            has none.
        name: Name of the run. Default: that of the config file.
        wandb: W&B project to track the run in; with WANDB_MODE=offline nothing leaves this machine.
        test: Test the best checkpoint after training, if there are test data.
        report: Make RUN/report.html at the end of the command fit: one page that shows the run.
        patience: Stop after this many validations in a row without a better score; 0 never stops
            early. Default: 3; with a time limit and fewer than 200 validation rows, 0.
        calibration: File that says what the probabilities are worth, for a run that validates
            nothing; fit --folds writes it.
        max_epochs: Passes over the training data. Default: enough for about 1,000 steps, at least
            3 and at most 30.
        max_steps: Stop after this many optimizer steps; -1 for no limit.
        max_time: Time that the run may take with its test, such as 90s, 10m or 2h: the steps that
            fit are planned before the first one, and the rate falls to its end.
        save_every: Optimizer steps (500), or time (30s, 10m, 2h), between checkpoints. One more is
            written at the end and on a signal.
        unsaved: If a checkpoint cannot be written, as on a full disk: warn, train on and try again
            at the next save; or stop.
        strategy: How several devices work together: auto, ddp, fsdp2, deepspeed, or another of
            Lightning's.
        accelerator: cpu, gpu, tpu, mps, or auto for the best there is.
        precision: auto for bf16-mixed if the device has it, else 32-true; bf16-master keeps the
            weights in bfloat16, with an fp32 copy for the optimizer; or one of Lightning's.
        gradient_clip_val: Largest norm of all gradients together; 0 for no clipping.
        logger: More Lightning loggers; metrics.csv is always written.
        callbacks: More Lightning callbacks.
        plugins: More Lightning plugins.
        enable_progress_bar: Show progress on the screen.
        enable_checkpointing: Keep the best and the last checkpoint; if false, the weights at the
            end are tested.
        use_distributed_sampler: Always false: the data module divides the rows among processes
            itself, without padding or repeating any.
        kwargs: More options of Lightning's Trainer.
    """

    def __init__(
        self,
        *,
        run: str | None = None,
        resume: bool = False,
        name: str = "run",
        wandb: str | None = None,
        test: bool = True,
        report: bool = True,
        patience: Count | None = None,
        calibration: str | None = None,
        max_epochs: Steps | None = None,
        max_steps: Steps = -1,
        max_time: str | timedelta | dict[str, int] | None = None,
        save_every: PositiveInt | str = "10m",
        unsaved: Unsaved = "warn",
        strategy: str | Strategy = "auto",
        accelerator: str = "auto",
        precision: str = "auto",
        gradient_clip_val: NonNegative | None = 1.0,
        logger: Logger | list[Logger] | bool | None = None,
        callbacks: list[Callback] | Callback | None = None,
        plugins: Any = None,
        enable_progress_bar: bool = True,
        enable_checkpointing: bool | None = None,
        use_distributed_sampler: bool | None = False,
        **kwargs: Any,
    ) -> None:
        named = {n: v for n, v in locals().items() if n not in ("self", "__class__")}
        self.options_given = {
            **named.pop("kwargs"),
            **named,
        }  # named, they would be hidden from --help
        screen.silence_libraries()
        self.run = RunState(
            given=run,
            resume=resume,
            name=name,
            wandb=wandb,
            test=test,
            report=report,
            patience=patience,
            calibration=calibration,
            max_steps=max_steps,
            save_every=save_every,
            unsaved=unsaved,
            saves=enable_checkpointing is not False,
        )
        given = as_list(callbacks)
        progress = Report(shows=enable_progress_bar)
        precision = precisions.auto(accelerator) if precision == "auto" else precision
        for key, value in DEFAULTS.items():
            kwargs[key] = value if kwargs.get(key) is None else kwargs[key]
        super().__init__(
            max_epochs=-1 if max_epochs is None else max_epochs,  # -1 until the data are known
            max_time=budgets.limit(max_time),
            # not max_steps: with it Lightning resumes in other ways, some count an epoch twice
            strategy=fsdp.FSDP2() if strategy == "fsdp2" else strategy,
            accelerator=accelerator,
            precision=None if precision == precisions.NAME else precision,  # type: ignore[arg-type]
            gradient_clip_val=gradient_clip_val,
            logger=logger or False,
            callbacks=[
                group.Watch(self.run),
                RunFolder(self.run),
                *given,
                progress,
                Timing(self.run, progress),
            ],
            plugins=[*as_list(plugins), *plugins_for(strategy, precision)],
            enable_progress_bar=False,  # Report is ours
            enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in given),
            use_distributed_sampler=only_false(use_distributed_sampler),
            **kwargs,
        )
        lightning_internals.set_launcher(self, group.watch)
        self.signals = lightning_internals.set_connectors(self, Signals(self, self.run))
        self.run.auto_epochs = max_epochs is None and max_steps == -1
        limits = [lightning_internals.duration(timer) for timer in callbacks_of(self, Timer)]
        if seconds := min(filter(None, limits), default=None):
            self.run.budget = Budget(seconds)
            lightning_internals.callbacks(self).insert(0, TimeLimit(self.run, self.run.budget))
        choosing = [batch_size.BatchSize(self.run), range_test.RangeTest(self.run)]
        lightning_internals.callbacks(self)[:0] = choosing

    @property
    def folder(self) -> Path | None:
        """The folder of the run; None before there is one."""
        return self.run.folder

    @property
    def best_path(self) -> Path | None:
        """The best checkpoint by the task's monitor; None if no checkpoints are kept.

        Without validation data it holds the weights at the end.
        """
        return self.run.best_path

    @property
    def goes_on(self) -> bool:
        """Whether the run resumes from a checkpoint of its own."""
        return self.run.goes_on

    def fit(  # type: ignore[override]
        self,
        model: Task,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        ckpt_path: str | None = None,
        weights_only: bool | None = True,
    ) -> None:
        """Trains, then tests the best checkpoint.

        With a full disk it trains on, and says at the end what is missing.

        Args:
            model: the task.
            train_dataloaders: training batches, instead of a data module.
            val_dataloaders: validation batches, instead of a data module.
            datamodule: the data module.
            ckpt_path: checkpoint to start from, such as RUN/checkpoints/last.ckpt.
            weights_only: always true; nothing is unpickled.

        Raises:
            WriteError: something could not be written. Once there is room, resume the run: it
                ends as one that always had it.
        """
        self.run.begin()
        if self.run.calibration:
            calibrating.given(self.run.calibration)  # its errors come before the training
        self.settle_unfreeze(model)
        batch_size.settle(self.run, model, datamodule, ckpt_path)
        range_test.settle(self.run, model, self, ckpt_path)
        model.freezing().check(model)  # its errors come before a folder is made
        fsdp.check(self, model)
        precisions.check(self)
        held_out.widen(self.run, model, datamodule)
        settle(self.run, self.options_given, datamodule)
        if self.run.resume:
            if ckpt_path is None and done.is_done(self, self.run, model, datamodule):
                return
            ckpt_path = resume_state.newest(self.run, ckpt_path)
        self.run.ckpt_path = ckpt_path
        recorded.keep(self.run, self, model, datamodule)
        if ckpt_path is not None:
            model.begin_from(ckpt_path)
        self.signals.received = 0
        self.run.unwritten.clear()
        self.run.waiting.clear()
        validates = val_dataloaders is not None
        if isinstance(datamodule, DataModule):
            validates = datamodule.has("validation")
        self._add_callbacks(model, validates)
        self.run.fitting = True
        try:
            super().fit(
                model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only
            )
            conclude(self, self.run, model, datamodule)
        finally:
            self.run.fitting = False
            if self.run.lock is not None:
                self.run.lock.close()

    def settle_unfreeze(self, model: Task) -> None:
        """Makes the default schedule of a task one that this trainer can follow."""
        run = self.run
        planned = run.auto_epochs or run.budget is not None
        is_limited = planned or (self.max_epochs or -1) > 0 or run.max_steps > 0
        settle_unfreeze(self.strategy, is_limited, model)

    def _add_callbacks(self, model: Task, validates: bool) -> None:
        """Adds early stopping and checkpoints, which need to know the task and its data."""
        callbacks = lightning_internals.callbacks(self)
        run = self.run
        if validates and run.patience and not callbacks_of(self, EarlyStopping):
            stopping = Patience(model.monitor, model.mode, run.patience)
            callbacks.append(stopping)
        lightning_internals.average_floats_alone(self)
        if run.saves and not callbacks_of(self, Last):
            if validates:
                callbacks.append(Start(run))
                callbacks.append(Best(run, model.monitor, model.mode))
            last = Last(run, self.signals)
            run.obey = last.obey
            callbacks.append(last)

    def save_checkpoint(  # type: ignore[override]
        self, filepath: Any, weights_only: bool | None = None, storage_options: Any = None
    ) -> bool:
        """Writes a checkpoint, if it can. Returns whether it did.

        Args:
            filepath: file to write.
            weights_only: whether only the weights are written; their average, if there is one.
            storage_options: Lightning's.

        Raises:
            UserError: it cannot be written, and ``unsaved`` is stop.
        """
        return save(self, self.run, filepath, bool(weights_only), storage_options)

    def interpolate(self, model: Task, datamodule: DataModule, ckpt_path: str, value: str) -> None:
        """Puts weights between the pre-trained and the fine-tuned ones into a task (WiSE-FT).

        Args:
            model: the task, with its pre-trained weights.
            datamodule: its data module; auto needs validation data.
            ckpt_path: checkpoint of the fine-tuned weights.
            value: share of the fine-tuned weights from 0 to 1, or auto for the one with the best
                validation.
        """

        def measure() -> float:
            self.validate(model, datamodule=datamodule, verbose=False)
            return float(self.callback_metrics[model.monitor])

        if isinstance(self.strategy, fsdp.FSDP2):
            raise UserError("--wise: not on divided weights; add --trainer.strategy ddp")
        self.run.wise = wise.apply(model, ckpt_path, value, measure)
        if self.is_global_zero:
            screen.table(interpolated(self.run.wise, model))

    def export(
        self,
        model: Task,
        datamodule: DataModule,
        ckpt_path: str,
        out: str | None = None,
        wise: str = "",
        repo: str = "",
        format: str = "hf",
        int8: bool = False,
    ) -> Path:
        """Writes the fine-tuned model as a folder that needs no ftlight, with the same scores.

        Args:
            model: the task; of ONNX its model is the graph afterwards.
            datamodule: its data module, for the tokenizer.
            ckpt_path: checkpoint to export.
            out: folder to write. Default: RUN/export or RUN/onnx, or the same in RUN-results where
                one stands if the run cannot be written.
            wise: share of the fine-tuned weights, the rest being the pre-trained ones; or auto, by
                the validation data.
            repo: repo of the Hub that it is for, OWNER/NAME: its card says how to load it from
                there, and a folder that holds the same export already is left as it is.
            format: hf for what stock libraries load; onnx for what onnxruntime runs, without torch.
            int8: whether weights of ONNX are in 8 bits, and checked on the validation rows.
        """
        folder = Path(out) if out else outputs.home(self.run.home) / FOLDERS[format]
        exports.check(folder, again=bool(repo))
        self._take_weights(model, datamodule, ckpt_path, wise)
        share = self.run.wise["share"] if wise else None
        what = Exported(self.run.home, model, datamodule, Path(ckpt_path).stem, share)
        if format == "onnx":
            onnx_export.write(what, folder, int8)
        else:
            exports.write(what, folder, repo)
        return folder

    def _take_weights(self, model: Task, data: DataModule, ckpt_path: str, wise: str) -> None:
        """Puts the weights to export into a task."""
        if wise:
            self.interpolate(model, data, ckpt_path, wise)
        else:
            model.load_weights(ckpt_path)
            model.merge_adapters()
        model.datamodule = data


# The parser tries the types of a Union in turn, and typing hands out the Union of the same types
# that was made first: with another library's Union[float, int], one batch would read as all.
L.Trainer.__init__.__annotations__.update(LIGHTNING)
check_ranges(Trainer, "trainer", L.Trainer.__init__.__annotations__)
