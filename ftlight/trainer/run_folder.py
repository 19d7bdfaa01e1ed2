"""What ftlight's Trainer always does beside training: the run folder and the last checkpoint."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from ftlight.data.module import DataModule
from ftlight.freezing import callback
from ftlight.models import loading
from ftlight.run import console as screen
from ftlight.run import folder as runs
from ftlight.run import loggers
from ftlight.run.predictions import write_predictions
from ftlight.task import EvaluationResult, Task
from ftlight.trainer import summary
from ftlight.training import optim
from ftlight.training.signals import EXIT_REQUEUE, RunInterrupted
from ftlight.utils import atomic
from ftlight.utils.atomic import read_json, write_json
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)

STEPS, EPOCHS = 1000, (3, 30)  # aimed at, and bounds of epochs, where max_epochs is not given


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
        begun = read_json(trainer.folder / "run.json") if trainer.is_global_zero else {}
        if trainer.is_global_zero:
            self._record(trainer, pl_module, begun)
        trainer.loggers = [loggers.MetricsFile(trainer.folder), *trainer.loggers]
        self.begun = True
        if trainer.wandb_project and trainer.is_global_zero:
            known = begun.get("wandb", {}).get("id")
            tracker = loggers.start(
                trainer.wandb_project, trainer.folder, trainer.config, pl_module.labels, known
            )
            runs.update(
                trainer.folder,
                wandb={"project": trainer.wandb_project, "id": tracker.experiment.id},
            )
            trainer.loggers = [*trainer.loggers, tracker]

    def _open(self, trainer: Any) -> Path:
        """Makes the folder, or takes up the one that is to be gone on with, for this process alone."""
        folder = runs.make(trainer.given_run, trainer.run_name, trainer.resume)
        trainer.lock = runs.lock(folder)
        atomic.remove_stale(folder)
        atomic.remove_stale(folder / "checkpoints")
        data, begun = trainer.datamodule, read_json(folder / "run.json")
        then, now = (
            begun.get("data_sha256", {}),
            data.digests if isinstance(data, DataModule) else {},
        )
        for split in ("train", "validation"):
            if split in now and then.get(split, now[split]) != now[split]:
                raise UserError(
                    f"data.{split} was changed since {runs.short(folder)} began; go on with it as it was, or start anew"
                )
        return folder

    def _record(self, trainer: Any, task: Any, begun: Mapping[str, Any]) -> None:
        folder, data = trainer.folder, trainer.datamodule
        if trainer.config_yaml:
            for line in runs.write_config(folder, trainer.config_yaml):
                log.info("%s", line)
        if not trainer.goes_on:
            (folder / "metrics.csv").unlink(
                missing_ok=True
            )  # of a run that was ended before it had a checkpoint
        digests = data.digests if isinstance(data, DataModule) else {}
        seed = os.environ.get("PL_GLOBAL_SEED")
        facts = {**runs.provenance(int(seed) if seed else None, digests), "backbone": task.backbone}
        if trainer.resumes_from is not None:
            facts["began_from"] = str(Path(trainer.resumes_from).absolute())
        if begun:
            for name in (n for n, v in facts["versions"].items() if begun["versions"].get(n) != v):
                was, now = begun["versions"].get(name), facts["versions"][name]
                log.info(
                    "the run began with %s %s and goes on with %s: weights may not be bit-equal",
                    name,
                    was,
                    now,
                )
            again = {
                "command": facts["command"],
                "started": facts["started"],
                "versions": facts["versions"],
            }
            facts = {**begun, "status": "running", "resumed": [*begun.get("resumed", []), again]}
        write_json(folder / "run.json", facts)
        if isinstance(data, DataModule):
            kind = {} if data.kind is None else {"kind": data.kind}
            write_json(folder / "labels.json", {**kind, "labels": task.labels})
            loading.save_description(task.backbone, folder / "backbone")
            data.save_state(folder)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Sets the number of epochs where none was given, and shows what is about to be done."""
        if trainer.auto_epochs:
            trainer.fit_loop.max_epochs = min(
                max(EPOCHS[0], round(STEPS / optim.steps_per_epoch(trainer))), EPOCHS[1]
            )
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
        loggers.confusion(
            trainer.loggers, "val", pl_module.evidence["val"].confusion, pl_module.labels
        )

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Writes the test's metrics and predictions."""
        evidence = pl_module.evidence["test"]
        if trainer.is_global_zero and trainer.folder is not None:
            _write_test(trainer, pl_module, evidence)
            loggers.confusion(trainer.loggers, "test", evidence.confusion, pl_module.labels)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Notes how the run ended."""
        if trainer.is_global_zero and self.begun and trainer.fitting:
            asked = isinstance(exception, (KeyboardInterrupt, RunInterrupted))
            with contextlib.suppress(OSError):  # the disk may be what failed
                runs.update(trainer.folder, status="stopped" if asked else "failed")
            code = exception.code if isinstance(exception, RunInterrupted) else 1
            loggers.finish(trainer.loggers, code, preempted=code == EXIT_REQUEUE)  # type: ignore[arg-type]


def _check_shares(trainer: Any) -> None:
    """Refuses to measure a share of train that was changed since the run: it is not what was held out then.

    Raises:
        UserError: train is another file now.
    """
    data = trainer.datamodule
    now = data.digests.get("train") if isinstance(data, DataModule) else None
    then = read_json(trainer.folder / "run.json").get("data_sha256", {}).get("train")
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


def _write_test(trainer: Any, task: Task, evidence: EvaluationResult) -> None:
    data = trainer.datamodule
    facts = read_json(trainer.folder / "run.json")
    known = not isinstance(data, DataModule) or facts.get("data_sha256", {}).get(
        "test"
    ) == data.digests.get("test")
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
    bounds = {
        f"test/{k}_{end}": v
        for k, ends in evidence.intervals.items()
        for end, v in zip(("low", "high"), ends, strict=True)
    }
    how = {"wise": mixed} if mixed else {}
    write_json(
        trainer.folder / f"{stem}_metrics.json",
        {**scores, **bounds, "test/rows": evidence.rows, **how},
    )
    if not isinstance(data, DataModule) or evidence.outputs is None or evidence.numbers is None:
        return
    raw = list(data.rows("test", evidence.numbers.tolist()))
    columns = [c for c in raw[0] if not c.startswith("__") and any(row[c] for row in raw)]
    rows: list[Mapping[str, Any]] = [{c: row[c] for c in columns} for row in raw]
    decoded = task.postprocess(evidence.outputs, raw)
    write_predictions(trainer.folder / f"{stem}_predictions.csv", rows, decoded, spread=False)
    if data.log_text:
        made = [
            [*row.values(), d["prediction"], d["score"]]
            for row, d in zip(rows, decoded, strict=True)
        ]
        loggers.texts(trainer.loggers, [*columns, "prediction", "score"], made)
