"""Lightning's Trainer with what must always be on: run folder, best and last checkpoint, early stopping, screen."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import IO, Any, Literal

import lightning as L
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    Timer,
    WeightAveraging,
)
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector

from ftlight.data.module import DataModule
from ftlight.run import console as screen
from ftlight.run import folder as run
from ftlight.run import loggers as tracking
from ftlight.task import Task
from ftlight.trainer import summary, wise
from ftlight.trainer.best import Best
from ftlight.trainer.export import card, prepare
from ftlight.trainer.resume import Last, interval
from ftlight.trainer.run_folder import RunFolder
from ftlight.training import checkpoint, fsdp
from ftlight.training import precision as precisions
from ftlight.training.progress import Report
from ftlight.training.signals import Signals
from ftlight.utils.atomic import read_json
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)


class _Checkpoints(_CheckpointConnector):
    """Under SLURM Lightning's goes on from any hpc_ckpt_N.ckpt in the working folder, of whatever run that is."""

    _hpc_resume_path = None


class Trainer(L.Trainer):
    """Trains, tests and predicts, each in a run folder of its own, on one device or many.

    Args:
        run: folder of the run; runs/NAME/TIME if not given; one that exists is refused, unless it is resumed.
        resume: whether the run in that folder goes on from its newest whole checkpoint; it is started where there is none.
        name: name of the run, by default that of the config file.
        wandb: W&B project to track the run in; WANDB_MODE=offline keeps it on this machine.
        test: whether fit tests the best checkpoint at its end, where there are test data.
        patience: validations in a row without a better score after which training stops; 0 never stops early.
        max_epochs: times over the data; if not given, enough for about 1,000 steps, at least 3 and at most 30.
        max_steps: optimizer steps after which training stops; -1 for no such limit.
        save_every: optimizer steps (500), or time (30s, 10m, 2h), between checkpoints; one more is made at the end or on a signal.
        unsaved: what a checkpoint that cannot be written does, as on a full disk: warn, and train on, or stop.
        strategy: how several devices work together: auto, ddp, fsdp2, deepspeed, or another of Lightning's.
        accelerator: cpu, gpu, tpu, mps, or auto for the best there is.
        precision: auto is bf16-mixed where the device has it, else 32-true; bf16-master keeps the weights in bfloat16, and in fp32 for
            the optimizer alone; or one of Lightning's.
        gradient_clip_val: largest norm of all gradients together; 0 for no clipping.
        logger: further Lightning loggers; metrics.csv is always written.
        callbacks: further Lightning callbacks.
        plugins: further Lightning plugins.
        enable_progress_bar: false for no progress on the screen.
        enable_checkpointing: false keeps no best and last checkpoint; the test is then of the weights at the end.
        kwargs: further options of Lightning's Trainer.
    """

    def __init__(
        self,
        *,
        run: str | None = None,
        resume: bool = False,
        name: str = "run",
        wandb: str | None = None,
        test: bool = True,
        patience: int = 3,
        max_epochs: int | None = None,
        max_steps: int = -1,
        save_every: int | str = "10m",
        unsaved: Literal["warn", "stop"] = "warn",
        strategy: str | Strategy = "auto",
        accelerator: str = "auto",
        precision: str = "auto",
        gradient_clip_val: float | None = 1.0,
        logger: Logger | list[Logger] | bool | None = None,
        callbacks: list[Callback] | Callback | None = None,
        plugins: Any = None,
        enable_progress_bar: bool = True,
        enable_checkpointing: bool | None = None,
        **kwargs: Any,
    ) -> None:
        screen.silence_libraries()
        self.run_name, self.wandb_project, self.test_after_fit, self.patience = (
            name,
            wandb,
            test,
            patience,
        )
        self.given_run, self.resume, self.saves = run, resume, enable_checkpointing is not False
        self.save_every, self.unsaved, self.steps_limit = save_every, unsaved, max_steps
        interval(save_every)
        if resume and run is None:
            raise UserError("trainer.resume: give the folder of the run: trainer.run (--run DIR)")
        self.resumes_from: str | None = None
        self.lock: IO[str] | None = None
        self.files = checkpoint.CheckpointIO()
        self.folder: Path | None = None
        self.best: Best | None = None
        self.last: Last | None = None
        self.fitting = False
        self.wise: dict[str, Any] = {}  # what interpolate() did
        self.config: dict[str, Any] = {}
        self.config_yaml = ""
        given = callbacks if isinstance(callbacks, list) else [callbacks] if callbacks else []
        chosen = precisions.auto(accelerator) if precision == "auto" else precision
        master = chosen == precisions.NAME
        extra = plugins if isinstance(plugins, list) else [plugins] if plugins else []
        for key, value in {"num_sanity_val_steps": 0, "enable_model_summary": False}.items():
            kwargs[key] = value if kwargs.get(key) is None else kwargs[key]
        kwargs["use_distributed_sampler"] = (
            False  # the data module's own samplers neither pad nor repeat
        )
        super().__init__(
            max_epochs=-1 if max_epochs is None else max_epochs,  # -1 until the data are known
            # not max_steps: Lightning restarts a run with such a limit in other ways, some of which count an epoch twice
            strategy=fsdp.FSDP2() if strategy == "fsdp2" else strategy,
            accelerator=accelerator,
            precision=None if master else chosen,  # type: ignore[arg-type]
            gradient_clip_val=gradient_clip_val,
            logger=logger or False,
            callbacks=[RunFolder(), *given, *([Report()] if enable_progress_bar else [])],
            plugins=[
                *extra,
                *([precisions.BF16Master()] if master else []),
                *([] if _sharded(strategy) else [self.files]),
            ],
            enable_progress_bar=False,  # Report is ours
            enable_checkpointing=any(
                isinstance(c, ModelCheckpoint) for c in given
            ),  # ours come with fit
            **kwargs,
        )
        self._signal_connector: Signals = Signals(self)
        self._checkpoint_connector = _Checkpoints(self)
        # a broadcast before every step, for a signal that Agreement asks for about once a second
        self.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
        timed = any(isinstance(c, Timer) for c in self.callbacks)  # type: ignore[attr-defined]
        self.auto_epochs = max_epochs is None and max_steps == -1 and not timed

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

        Args:
            model: the task.
            train_dataloaders: training batches, instead of a data module.
            val_dataloaders: validation batches, instead of a data module.
            datamodule: the data module.
            ckpt_path: checkpoint to go on from, such as RUN/checkpoints/last.ckpt.
            weights_only: always true; nothing is unpickled.
        """
        model.freezing().check(model)  # its faults show before a folder is made
        fsdp.check(self, model)
        precisions.check(self)
        home = Path(self.given_run or ".")
        if self.resume:
            if ckpt_path is None and self._done(home):
                return
            ckpt_path = self._newest(home, ckpt_path)
        self.resumes_from = ckpt_path
        self._signal_connector.received = 0
        validates = (
            datamodule.has("validation")
            if isinstance(datamodule, DataModule)
            else val_dataloaders is not None
        )
        self._add_callbacks(model, validates)
        self.fitting = True
        try:
            super().fit(
                model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only
            )
            if (
                self.test_after_fit
                and isinstance(datamodule, DataModule)
                and datamodule.has("test")
            ):
                self.test(model, datamodule=datamodule, ckpt_path=self.best_path, verbose=False)
            if self.is_global_zero and self.folder is not None:
                self._close(model)
        finally:
            self.fitting = False
            if self.lock is not None:
                self.lock.close()

    def _newest(self, home: Path, given: str | None) -> str | None:
        """Where a run goes on: its newest whole checkpoint; before it has one, the one it was started from."""
        if given is not None and _of_run(given, home):
            return given
        found = checkpoint.newest(home / "checkpoints")
        return str(found) if found else given or read_json(home / "run.json").get("began_from")

    @property
    def goes_on(self) -> bool:
        """Whether this run goes on from a checkpoint of its own."""
        return (
            self.resume
            and self.resumes_from is not None
            and self.folder is not None
            and _of_run(self.resumes_from, self.folder)
        )

    def _done(self, home: Path) -> bool:
        """Whether a run has ended, and this config asks no more of it; says so."""
        record = home / "config.yaml"
        same = (
            bool(self.config_yaml)
            and record.is_file()
            and record.read_text(encoding="utf-8") == self.config_yaml
        )
        done = same and read_json(home / "run.json").get("status") == "done"
        if done:
            log.info(
                "%s is done; nothing is left to do (for more raise trainer.max_epochs, max_steps or patience)",
                run.short(home),
            )
        return done

    def save_checkpoint(  # type: ignore[override]
        self, filepath: Any, weights_only: bool | None = None, storage_options: Any = None
    ) -> bool:
        """Writes a checkpoint, if it can. Returns whether it did.

        Args:
            filepath: file to write.
            weights_only: whether only the weights are written; of an average of them, where there is one, that.
            storage_options: Lightning's.

        Raises:
            UserError: it cannot be written, and ``unsaved`` is stop.
        """
        made = self._checkpoint_connector.dump_checkpoint(weights_only)
        callbacks: list[Callback] = self.callbacks  # type: ignore[attr-defined]
        averages = [c for c in callbacks if isinstance(c, WeightAveraging)]
        averages = [c for c in averages if c._average_model is not None]
        if weights_only and averages:  # what is validated is what is kept
            averages[0].on_save_checkpoint(self, self.lightning_module, made)
            self.lightning_module.on_save_checkpoint(made)
            made = {
                k: v for k, v in made.items() if k not in ("current_model_state", "averaging_state")
            }
        self.strategy.save_checkpoint(made, filepath, storage_options=storage_options)
        problem = self.strategy.broadcast(self.files.problem)
        if problem and self.unsaved == "stop":
            raise UserError(problem)
        if problem:
            log.warning("%s; training goes on (trainer.unsaved)", problem)
        return not problem

    def interpolate(self, model: Task, datamodule: DataModule, ckpt_path: str, value: str) -> None:
        """Puts weights between the pre-trained and the fine-tuned ones into a task (WiSE-FT).

        Args:
            model: the task, with its pre-trained weights.
            datamodule: its data module; auto needs validation data.
            ckpt_path: checkpoint of the fine-tuned weights.
            value: share of the fine-tuned weights from 0 to 1, or auto for the one with the best validation.
        """

        def measure() -> float:
            self.validate(model, datamodule=datamodule, verbose=False)
            return float(self.callback_metrics[model.monitor])

        if isinstance(self.strategy, fsdp.FSDP2):
            raise UserError("--wise: not on divided weights; add --trainer.strategy ddp")
        self.wise = wise.apply(model, ckpt_path, value, measure)
        if self.is_global_zero:
            screen.table(summary.interpolated(self.wise, model))

    def export(
        self,
        model: Task,
        datamodule: DataModule,
        ckpt_path: str,
        out: str | None = None,
        wise: str = "",
    ) -> Path:
        """Writes the fine-tuned model as a folder that stock libraries load with the same scores.

        Args:
            model: the task.
            datamodule: its data module, for the tokenizer.
            ckpt_path: checkpoint to export.
            out: folder to write; RUN/export if not given.
            wise: share of the fine-tuned weights, the rest being the pre-trained ones; or auto, by the validation data.
        """
        home = self.folder or Path(self.given_run or ".")
        folder = prepare(Path(out) if out else home / "export")
        if wise:
            self.interpolate(model, datamodule, ckpt_path, wise)
        else:
            model.load_weights(ckpt_path)
            model.merge_adapters()
        facts, scores = (
            read_json(home / name)
            for name in ("run.json", f"test{'-wise' if wise else ''}_metrics.json")
        )
        if wise and scores.get("wise", {}).get("share") != self.wise["share"]:
            scores = {}  # of another mix
        model.datamodule = datamodule
        how = model.cpu().eval().export(folder, datamodule)
        (folder / "README.md").write_text(
            card(facts, model, how, scores, self.wise.get("share")), encoding="utf-8"
        )
        return folder

    def _add_callbacks(self, model: Task, validates: bool) -> None:
        callbacks: list[Callback] = self.callbacks  # type: ignore[attr-defined]
        if validates and self.patience and not any(isinstance(c, EarlyStopping) for c in callbacks):
            # not strict: a run may end, by max_steps say, before it validates
            callbacks.append(
                EarlyStopping(
                    model.monitor,
                    mode=model.mode,
                    patience=self.patience,
                    check_finite=False,
                    strict=False,
                )
            )
        if self.saves and self.last is None:
            if validates:
                self.best = Best(model.monitor, model.mode)
                callbacks.append(self.best)
            self.last = Last(self.save_every, self._signal_connector)
            callbacks.append(self.last)

    @property
    def best_path(self) -> Path | None:
        """The best checkpoint by the task's monitor (the last, without validation data); None where none is kept."""
        return self.folder / "checkpoints" / "best.ckpt" if self.saves and self.folder else None

    def _close(self, model: Task) -> None:
        """Notes the end in run.json and shows the table at the end."""
        assert self.folder is not None
        score = self.best.score if self.best else None
        scores = {} if score is None else {model.monitor: score}
        run.update(
            self.folder,
            status="done",
            epochs=self.current_epoch,
            steps=self.global_step,
            best=scores,
        )
        screen.table(summary.closing(model, self.folder))
        tracking.finish(self.loggers)


def _of_run(path: str, folder: Path) -> bool:
    """Whether a checkpoint is one of the run in a folder."""
    return Path(path).resolve().parent == (folder / "checkpoints").resolve()


def _sharded(strategy: Any) -> bool:
    """Whether a strategy saves its own shards."""
    return (
        isinstance(strategy, str)
        and strategy != "fsdp2"
        and strategy.startswith(("fsdp", "deepspeed", "model_parallel"))
    )
