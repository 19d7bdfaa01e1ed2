"""What ftlight's Trainer always does beside training: the run folder and the last checkpoint."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, Checkpoint

from ftlight.data.module import DataModule
from ftlight.freezing import callback
from ftlight.models import loading
from ftlight.run import console as screen
from ftlight.run import folder as runs
from ftlight.run import loggers
from ftlight.task import Evidence, Task
from ftlight.trainer import summary
from ftlight.training import checkpoint as files
from ftlight.training import optim
from ftlight.training.signals import Stopped
from ftlight.utils import atomic
from ftlight.utils.errors import UserError, listing, nearest

log = logging.getLogger(__name__)

STEPS, EPOCHS = 1000, (3, 30)  # aimed at, and bounds of epochs, where max_epochs is not given


class Best(Checkpoint):
    """Keeps the weights that are best by the task's monitor as best.ckpt; a run that goes on in a new folder takes them along."""

    def __init__(self, monitor: str, mode: str) -> None:
        self.monitor, self.sign = monitor, -1.0 if mode == "min" else 1.0
        self.score: float | None = None
        self.best_model_path = ""  # where Lightning looks for it

    def on_validation_end(self, trainer: Any, pl_module: L.LightningModule) -> None:
        """Saves the weights where their score is the best so far; an undefined one is the worst.

        Raises:
            UserError: the monitored value is not among the logged ones.
        """
        if trainer.state.fn != "fit" or trainer.sanity_checking or trainer.fast_dev_run or trainer.best_path is None:
            return
        values = trainer.callback_metrics
        if self.monitor not in values:
            raise UserError(
                f"the monitored value {self.monitor} was not logged{nearest(self.monitor, values)} (there are: {listing(values, 20)})"
            )
        value = float(values[self.monitor])
        worse = math.isnan(value) or (self.score is not None and self.sign * value <= self.sign * self.score)
        first = not self.best_model_path
        # a score counts once its weights are on the disk
        if trainer.strategy.reduce_boolean_decision(first or not worse, all=False) and trainer.save_checkpoint(trainer.best_path, True):
            self.best_model_path = str(trainer.best_path)
            self.score = None if math.isnan(value) else value

    def state_dict(self) -> dict[str, Any]:
        """The best score, and where its weights are."""
        return {"score": self.score, "path": self.best_model_path}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Restores the best score, where its weights are still there and whole."""
        state = checkpoint["callbacks"].get(self.state_key)
        if state is None or trainer.state.fn != "fit" or trainer.best_path is None:
            return
        mine, old = trainer.best_path, Path(state["path"] or ".")
        if trainer.is_global_zero and old.is_file() and old.resolve() != mine.resolve() and not (trainer.resume and mine.is_file()):
            mine.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(old, mine)
        trainer.strategy.barrier()
        why = files.fault(mine) if state["path"] else ""
        if why:
            log.warning("%s: %s; the next validation makes it anew", mine, why)
        elif state["path"]:
            self.score, self.best_model_path = state["score"], str(mine)


class RunFolder(Callback):
    """Makes the run folder on rank 0 before anything is written, and keeps its facts."""

    begun = False

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Makes the folder for fit; takes the given one for every other stage."""
        if trainer.folder is not None or (stage != "fit" and trainer.given_run is None):
            return
        if stage != "fit":
            trainer.folder = Path(trainer.given_run)
            _check_shares(trainer)
            return
        trainer.folder = Path(_agree(trainer, lambda: str(self._open(trainer))))
        for saver in trainer.checkpoint_callbacks:
            if getattr(saver, "dirpath", "") is None:
                saver.dirpath = str(trainer.folder / "checkpoints")
        if not trainer.resume:
            self._begin(trainer, pl_module)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Notes that a run goes on, once its checkpoint was found to fit: one that is refused is left as it was."""
        if trainer.resume:
            self._begin(trainer, pl_module)

    def _begin(self, trainer: Any, pl_module: Any) -> None:
        begun = runs.read_json(trainer.folder / "run.json") if trainer.is_global_zero else {}
        if trainer.is_global_zero:
            self._record(trainer, pl_module, begun)
        trainer.loggers = [loggers.MetricsFile(trainer.folder), *trainer.loggers]
        self.begun = True
        if trainer.wandb_project and trainer.is_global_zero:
            known = begun.get("wandb", {}).get("id")
            tracker = loggers.start(trainer.wandb_project, trainer.folder, trainer.config, pl_module.labels, known)
            runs.update(trainer.folder, wandb={"project": trainer.wandb_project, "id": tracker.experiment.id})
            trainer.loggers = [*trainer.loggers, tracker]

    def _open(self, trainer: Any) -> Path:
        """Makes the folder, or takes up the one that is to be gone on with, for this process alone."""
        folder = runs.make(trainer.given_run, trainer.run_name, trainer.resume)
        trainer.lock = runs.lock(folder)
        atomic.sweep(folder)
        atomic.sweep(folder / "checkpoints")
        data, begun = trainer.datamodule, runs.read_json(folder / "run.json")
        then, now = begun.get("data_sha256", {}), data.digests if isinstance(data, DataModule) else {}
        for split in ("train", "validation"):
            if split in now and then.get(split, now[split]) != now[split]:
                raise UserError(f"data.{split} was changed since {runs.short(folder)} began; go on with it as it was, or start anew")
        return folder

    def _record(self, trainer: Any, task: Any, begun: Mapping[str, Any]) -> None:
        folder, data = trainer.folder, trainer.datamodule
        if trainer.config_yaml:
            for line in runs.write_config(folder, trainer.config_yaml):
                log.info("%s", line)
        if not trainer.goes_on:
            (folder / "metrics.csv").unlink(missing_ok=True)  # of a run that was ended before it had a checkpoint
        digests = data.digests if isinstance(data, DataModule) else {}
        seed = os.environ.get("PL_GLOBAL_SEED")
        facts = {**runs.facts(int(seed) if seed else None, digests), "backbone": task.backbone}
        if trainer.resumes_from is not None:
            facts["began_from"] = str(Path(trainer.resumes_from).absolute())
        if begun:
            for name in (n for n, v in facts["versions"].items() if begun["versions"].get(n) != v):
                was, now = begun["versions"].get(name), facts["versions"][name]
                log.info("the run began with %s %s and goes on with %s: weights may not be bit-equal", name, was, now)
            again = {"command": facts["command"], "started": facts["started"], "versions": facts["versions"]}
            facts = {**begun, "status": "running", "resumed": [*begun.get("resumed", []), again]}
        runs.write_json(folder / "run.json", facts)
        if isinstance(data, DataModule):
            kind = {} if data.kind is None else {"kind": data.kind}
            runs.write_json(folder / "labels.json", {**kind, "labels": task.labels})
            loading.save_description(task.backbone, folder / "backbone")
            data.keep(folder)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Sets the number of epochs where none was given, and shows what is about to be done."""
        if trainer.auto_epochs:
            trainer.fit_loop.max_epochs = min(max(EPOCHS[0], round(STEPS / optim.steps_per_epoch(trainer))), EPOCHS[1])
        schedule = callback.of(trainer)
        schedule.count(trainer)
        if trainer.is_global_zero:
            screen.table(summary.opening(trainer, pl_module))
            screen.grid(*summary.layers(schedule))

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        """Ends at max_steps by a stop: Lightning validates before a stop, but not at max_steps."""
        if trainer.global_step == optim.max_steps(trainer):
            trainer.should_stop = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Saves the state at the end: here, before an average of the weights takes the place of the weights."""
        if trainer.last is not None:
            trainer.last.save(trainer, ended=True)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Logs the confusion matrix to W&B."""
        loggers.confusion(trainer.loggers, "val", pl_module.evidence["val"].confusion, pl_module.labels)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Writes the test's metrics and predictions."""
        evidence = pl_module.evidence["test"]
        if trainer.is_global_zero and trainer.folder is not None:
            _write_test(trainer, pl_module, evidence)
            loggers.confusion(trainer.loggers, "test", evidence.confusion, pl_module.labels)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Notes how the run ended."""
        if trainer.is_global_zero and self.begun and trainer.fitting:
            asked = isinstance(exception, (KeyboardInterrupt, Stopped))
            with contextlib.suppress(OSError):  # the disk may be what failed
                runs.update(trainer.folder, status="stopped" if asked else "failed")
            loggers.finish(trainer.loggers, exception.code if isinstance(exception, Stopped) else 1)  # type: ignore[arg-type]


def _check_shares(trainer: Any) -> None:
    """Refuses to measure a share of train that was changed since the run: it is not what was held out then.

    Raises:
        UserError: train is another file now.
    """
    data = trainer.datamodule
    now = data.digests.get("train") if isinstance(data, DataModule) else None
    then = runs.read_json(trainer.folder / "run.json").get("data_sha256", {}).get("train")
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
    facts = runs.read_json(trainer.folder / "run.json")
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
    runs.write_json(trainer.folder / f"{stem}_metrics.json", {**scores, **bounds, "test/rows": evidence.rows, **how})
    if not isinstance(data, DataModule) or evidence.outputs is None or evidence.numbers is None:
        return
    raw = list(data.rows("test", evidence.numbers.tolist()))
    columns = [c for c in raw[0] if not c.startswith("__") and any(row[c] for row in raw)]
    rows: list[Mapping[str, Any]] = [{c: row[c] for c in columns} for row in raw]
    decoded = task.decode(evidence.outputs, raw)
    runs.write_predictions(trainer.folder / f"{stem}_predictions.csv", rows, decoded, spread=False)
    if data.log_text:
        made = [[*row.values(), d["prediction"], d["score"]] for row, d in zip(rows, decoded, strict=True)]
        loggers.texts(trainer.loggers, [*columns, "prediction", "score"], made)
