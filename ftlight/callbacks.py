"""What ftlight's Trainer always does beside training: the run folder and the last checkpoint."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from ftlight import backbone, run, screen, summary, tracking
from ftlight.data.module import DataModule
from ftlight.errors import UserError
from ftlight.task import Evidence, Task

STEPS, EPOCHS = 1000, (3, 30)  # aimed at, and bounds of epochs, where max_epochs is not given
SAVE_EVERY, SAVE_APART = 600.0, 60.0  # seconds: at least so often, and at epoch ends no more often than that


class Last(Callback):
    """Keeps last.ckpt, with all that is needed to go on: at ends of epochs, every 10 minutes, at the end, on Ctrl-C.

    Args:
        also_best: whether the weights at the end are the best ones too, for want of validation data.
    """

    def __init__(self, also_best: bool = False) -> None:
        self.saved, self.also_best = time.monotonic(), also_best

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
        """Saves."""
        self._save(trainer)
        if self.also_best and trainer.folder is not None:
            trainer.save_checkpoint(trainer.folder / "checkpoints" / "best.ckpt", weights_only=True)

    def on_exception(self, trainer: Any, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Saves on Ctrl-C where one process runs (several cannot be asked now), and says how to go on."""
        if not isinstance(exception, KeyboardInterrupt) or trainer.folder is None:
            return
        if trainer.world_size == 1 and trainer.global_step > 0:
            self._save(trainer)
        last, place = trainer.folder / "checkpoints" / "last.ckpt", os.path.relpath(trainer.folder)
        way = f"python -m ftlight fit -c {place}/config.yaml --ckpt_path {place}/checkpoints/last.ckpt" if last.is_file() else ""
        if trainer.is_global_zero:
            screen.console.print(f"stopped at step {trainer.global_step}; " + (f"to go on: {way}" if way else "nothing was saved yet"))


class RunFolder(Callback):
    """Makes the run folder on rank 0 before anything is written, and keeps its facts."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Makes the folder for fit; takes the given one for every other stage."""
        if trainer.folder is not None or (stage != "fit" and trainer.given_run is None):
            return
        if stage != "fit":
            trainer.folder = Path(trainer.given_run)
            return
        trainer.folder = Path(_agree(trainer, lambda: str(run.make(trainer.given_run, trainer.run_name))))
        for saver in trainer.checkpoint_callbacks:
            if saver.dirpath is None:
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
            (folder / "config.yaml").write_text(trainer.config_yaml)
        digests = data.digests if isinstance(data, DataModule) else {}
        seed = os.environ.get("PL_GLOBAL_SEED")
        run.write_json(folder / "run.json", {**run.facts(int(seed) if seed else None, digests), "backbone": task.backbone})
        if isinstance(data, DataModule):
            kind = {"kind": data.kind} if isinstance(getattr(data, "kind", None), str) else {}
            run.write_json(folder / "labels.json", {**kind, "labels": task.labels})
            backbone.save_description(task.backbone, folder / "backbone")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Sets the number of epochs where none was given, and shows what is about to be done."""
        if trainer.auto_epochs:
            steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
            trainer.fit_loop.max_epochs = min(max(EPOCHS[0], round(STEPS / max(1, steps))), EPOCHS[1])
        if trainer.is_global_zero:
            screen.table(summary.opening(trainer, pl_module))

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
        if trainer.is_global_zero and trainer.folder is not None and trainer.state.fn == "fit":
            run.update(trainer.folder, status="stopped" if isinstance(exception, KeyboardInterrupt) else "failed")


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
    stem = "test" if known else f"test-{Path(data.files['test'] or 'share').name}"
    low, high = evidence.interval
    scores = {f"test/{k}": v for k, v in evidence.values.items()}
    bounds = {f"test/{task.score}_low": low, f"test/{task.score}_high": high, "test/rows": evidence.rows}
    run.write_json(trainer.folder / f"{stem}_metrics.json", {**scores, **bounds})
    if isinstance(data, DataModule) and evidence.outputs is not None:
        rows: list[Mapping[str, Any]] = [{k: v for k, v in row.items() if v != ""} for row in data.raw("test")]
        decoded = task.decode(evidence.outputs)
        (trainer.folder / "predictions").mkdir(exist_ok=True)
        run.write_predictions(trainer.folder / "predictions" / f"{stem}.csv", rows, decoded, spread=False)
        if getattr(data, "log_text", False):
            made = [[*row.values(), d["prediction"], d["score"]] for row, d in zip(rows, decoded, strict=True)]
            tracking.texts(trainer.loggers, [*rows[0], "prediction", "score"], made)
