"""What ftlight's Trainer always does beside training: the run folder and the last checkpoint."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint

from ftlight import backbone, freezing, optim, run, screen, summary, tracking
from ftlight.data.module import DataModule
from ftlight.errors import UserError
from ftlight.task import Evidence, Task

STEPS, EPOCHS = 1000, (3, 30)  # aimed at, and bounds of epochs, where max_epochs is not given
SAVE_EVERY, SAVE_APART = 600.0, 60.0  # seconds: at least so often, and at epoch ends no more often than that


class Best(ModelCheckpoint):
    """Keeps the weights that are best by the task's monitor as best.ckpt; a run that goes on in a new folder takes them along."""

    def __init__(self, monitor: str, mode: str) -> None:
        super().__init__(monitor=monitor, mode=mode, filename="best", save_weights_only=True, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the best score and its file; Lightning's own drops both where the folder is another."""
        old, folder = Path(state_dict["best_model_path"]), Path(str(self.dirpath))
        if old.is_file() and folder != old.parent:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(old, folder / old.name)
            score, path = state_dict["best_model_score"], str(folder / old.name)
            moved = {"dirpath": str(folder), "best_model_path": path, "kth_best_model_path": path, "best_k_models": {path: score}}
            state_dict = {**state_dict, **moved}
        super().load_state_dict(state_dict)


class Last(Checkpoint):
    """Keeps last.ckpt, with all that is needed to go on: at ends of epochs, every 10 minutes, at the end, on Ctrl-C."""

    def __init__(self) -> None:
        self.saved = time.monotonic()

    def _save(self, trainer: Any, after: float = 0.0) -> None:
        due = trainer.strategy.reduce_boolean_decision(time.monotonic() - self.saved >= after, all=False)
        if due and trainer.folder is not None:
            trainer.save_checkpoint(trainer.folder / "checkpoints" / "last.ckpt")
            self.saved = time.monotonic()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Saves between batches, when it is time; ranks agree every 16 batches."""
        if batch_idx % 16 == 0 and batch_idx % trainer.accumulate_grad_batches == 0:
            self._save(trainer, SAVE_EVERY)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves, unless it just did."""
        self._save(trainer, SAVE_APART)

    def on_train_end(self, trainer: Any, pl_module: L.LightningModule) -> None:
        """Saves; where nothing was validated, the weights at the end are the best ones too."""
        self._save(trainer)
        if trainer.best_path is not None and not trainer.strategy.broadcast(trainer.best_path.is_file()):
            trainer.save_checkpoint(trainer.best_path, weights_only=True)

    def on_exception(self, trainer: Any, pl_module: L.LightningModule, exception: BaseException) -> None:
        """On Ctrl-C says how to go on; saves where one process was training (several cannot be asked now)."""
        if not isinstance(exception, KeyboardInterrupt) or trainer.folder is None or not trainer.fitting:
            return
        if trainer.world_size == 1 and trainer.global_step > 0 and trainer.training:
            self._save(trainer)
        place = run.short(trainer.folder)
        way = f"to go on: python -m ftlight fit -c {place}/config.yaml --ckpt_path {place}/checkpoints/last.ckpt"
        if trainer.is_global_zero:
            saved = (trainer.folder / "checkpoints" / "last.ckpt").is_file()
            screen.console.print(f"stopped at step {trainer.global_step}; {way if saved else 'nothing was saved yet'}")


class RunFolder(Callback):
    """Makes the run folder on rank 0 before anything is written, and keeps its facts."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Makes the folder for fit; takes the given one for every other stage."""
        if trainer.folder is not None or (stage != "fit" and trainer.given_run is None):
            return
        if stage != "fit":
            trainer.folder = Path(trainer.given_run)
            _check_shares(trainer)
            return
        trainer.folder = Path(_agree(trainer, lambda: str(run.make(trainer.given_run, trainer.run_name))))
        for saver in trainer.checkpoint_callbacks:
            if getattr(saver, "dirpath", "") is None:
                saver.dirpath = str(trainer.folder / "checkpoints")
        if trainer.is_global_zero:
            self._record(trainer, pl_module)
        trainer.loggers = [run.MetricsFile(trainer.folder), *trainer.loggers]
        if trainer.wandb_project and trainer.is_global_zero:
            tracker = tracking.start(trainer.wandb_project, trainer.folder, trainer.config, pl_module.labels)
            run.update(trainer.folder, wandb={"project": trainer.wandb_project, "id": tracker.experiment.id})
            trainer.loggers = [*trainer.loggers, tracker]

    def _record(self, trainer: Any, task: Any) -> None:
        folder, data = trainer.folder, trainer.datamodule
        if trainer.config_yaml:
            (folder / "config.yaml").write_text(trainer.config_yaml, encoding="utf-8")
        digests = data.digests if isinstance(data, DataModule) else {}
        seed = os.environ.get("PL_GLOBAL_SEED")
        run.write_json(folder / "run.json", {**run.facts(int(seed) if seed else None, digests), "backbone": task.backbone})
        if isinstance(data, DataModule):
            kind = {} if data.kind is None else {"kind": data.kind}
            run.write_json(folder / "labels.json", {**kind, "labels": task.labels})
            backbone.save_description(task.backbone, folder / "backbone")
            data.keep(folder)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Sets the number of epochs where none was given, and shows what is about to be done."""
        if trainer.auto_epochs:
            trainer.fit_loop.max_epochs = min(max(EPOCHS[0], round(STEPS / optim.steps_per_epoch(trainer))), EPOCHS[1])
        schedule = freezing.of(trainer)
        schedule.count(trainer)
        if trainer.is_global_zero:
            screen.table(summary.opening(trainer, pl_module))
            screen.grid(*summary.layers(schedule))

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        """Ends at max_steps by a stop: Lightning validates before a stop, but not at max_steps."""
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Logs the confusion matrix to W&B."""
        tracking.confusion(trainer.loggers, "val", pl_module.evidence["val"].confusion, pl_module.labels)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Writes the test's metrics and predictions."""
        evidence = pl_module.evidence["test"]
        if trainer.is_global_zero and trainer.folder is not None:
            _write_test(trainer, pl_module, evidence)
            tracking.confusion(trainer.loggers, "test", evidence.confusion, pl_module.labels)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Notes how the run ended."""
        if trainer.is_global_zero and trainer.folder is not None and trainer.fitting:
            run.update(trainer.folder, status="stopped" if isinstance(exception, KeyboardInterrupt) else "failed")
            tracking.finish(trainer.loggers, failed=True)


def _check_shares(trainer: Any) -> None:
    """Refuses to measure a share of train that was changed since the run: it is not what was held out then.

    Raises:
        UserError: train is another file now.
    """
    data = trainer.datamodule
    now = data.digests.get("train") if isinstance(data, DataModule) else None
    then = run.read_json(trainer.folder / "run.json").get("data_sha256", {}).get("train")
    if now is not None and then is not None and now != then:
        raise UserError(
            f"{data.files['train']} was changed since the run: the share held out of it is another; give data.test: FILE, or fit again"
        )


def _agree(trainer: L.Trainer, make: Callable[[], str]) -> str:
    """Runs ``make`` on rank 0 and gives its result, or its error, to all ranks."""
    result: tuple[str, str] = ("", "")
    if trainer.is_global_zero:
        try:
            result = (make(), "")
        except UserError as error:
            result = ("", str(error))
    value, fault = trainer.strategy.broadcast(result)
    if fault:
        raise UserError(fault)
    return value


def _write_test(trainer: Any, task: Task, evidence: Evidence) -> None:
    data = trainer.datamodule
    facts = run.read_json(trainer.folder / "run.json")
    known = not isinstance(data, DataModule) or facts.get("data_sha256", {}).get("test") == data.digests.get("test")
    mixed = trainer.wise if trainer.ckpt_path is None else {}
    checkpoint = mixed.get("checkpoint") or Path(str(trainer.ckpt_path or "best")).stem
    stem = "-".join(
        [
            "test",
            *(["wise"] if mixed else []),
            *([] if known else [Path(str(data.files["test"] or data.files["train"])).name]),
            *([] if checkpoint == "best" else [checkpoint]),
        ]
    )
    scores = {f"test/{k}": v for k, v in evidence.values.items()}
    bounds = {f"test/{k}_{end}": v for k, ends in evidence.intervals.items() for end, v in zip(("low", "high"), ends, strict=True)}
    how = {"wise": mixed} if mixed else {}
    run.write_json(trainer.folder / f"{stem}_metrics.json", {**scores, **bounds, "test/rows": evidence.rows, **how})
    if not isinstance(data, DataModule) or evidence.outputs is None or evidence.numbers is None:
        return
    raw = list(data.rows("test", evidence.numbers.tolist()))
    columns = [c for c in raw[0] if not c.startswith("__") and any(row[c] for row in raw)]
    rows: list[Mapping[str, Any]] = [{c: row[c] for c in columns} for row in raw]
    decoded = task.decode(evidence.outputs, raw)
    run.write_predictions(trainer.folder / f"{stem}_predictions.csv", rows, decoded, spread=False)
    if data.log_text:
        made = [[*row.values(), d["prediction"], d["score"]] for row, d in zip(rows, decoded, strict=True)]
        tracking.texts(trainer.loggers, [*columns, "prediction", "score"], made)
