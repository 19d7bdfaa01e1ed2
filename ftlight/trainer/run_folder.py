"""The callback that keeps the run folder: config, labels, where the run came from, how it ended."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from ftlight.data import findings
from ftlight.data.module import DataModule
from ftlight.freezing import callback
from ftlight.models import loading
from ftlight.run import console as screen
from ftlight.run import folder as runs
from ftlight.run import loggers, outputs, records, tracked, tracking, trust
from ftlight.run.provenance import provenance
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer import estimate, recorded, results, resume_state, same_rows, summary
from ftlight.trainer.parts import data_of
from ftlight.trainer.resume import Last
from ftlight.training import optim
from ftlight.training.lightning_internals import callbacks_of
from ftlight.training.progress import Report
from ftlight.training.signals import EXIT_REQUEUE, RunInterrupted
from ftlight.utils import atomic
from ftlight.utils.atomic import read_json, write_json, writing
from ftlight.utils.atomic_folder import atomic_files
from ftlight.utils.distributed import first_decides
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)
SHARES = ("data.split_seed:", "data.validation_split:", "data.test_split:")
OF_ORIGIN = ("backbone", "seed", "data_sha256", "versions", "command", "git", "from")
STEPS, EPOCHS = 1000, (3, 30)  # aimed at, and bounds of epochs, if max_epochs is not given


class RunFolder(Callback):
    """Creates the run folder before anything is written, and records the run in it.

    Args:
        run: state of the run.
    """

    def __init__(self, run: RunState) -> None:
        self.run = run
        self.begun = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Creates the folder for fit; takes the given one for every other stage."""
        run = self.run
        if run.folder is not None or (stage != "fit" and run.given is None):
            return
        if stage != "fit":
            run.folder = Path(str(run.given))
            self._check_shares(trainer, stage)
            return
        run.rows = first_decides(
            trainer, lambda: resume_state.settle_rows(trainer, run, data_of(trainer))
        )
        run.folder = Path(first_decides(trainer, lambda: str(self._open())))
        for saver in trainer.checkpoint_callbacks:
            if getattr(saver, "dirpath", "") is None:
                saver.dirpath = str(run.checkpoints)  # type: ignore[attr-defined]
        if not run.resume:
            self._begin(trainer, pl_module)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Records that a run resumes; one whose checkpoint was refused is left as it was."""
        if self.run.resume:
            self._begin(trainer, pl_module)

    def _begin(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Records the run, and starts its loggers.

        Raises:
            WriteError: the disk has no room for the record.
        """
        assert isinstance(task, Task)
        run = self.run
        first_decides(trainer, lambda: self._record(trainer, task))
        given = [x for x in trainer.loggers if not isinstance(x, loggers.MetricsFile)]
        trainer.loggers = [loggers.MetricsFile(run.home), *map(loggers.guard, given)]
        self.begun = True
        if run.wandb:
            first_decides(trainer, lambda: self._track(trainer, task))

    def _track(self, trainer: L.Trainer, task: Task) -> None:
        """Starts the W&B run, or continues the known one."""
        file, facts = trainer.loggers[0], records.facts(self.run.home)
        assert isinstance(file, loggers.MetricsFile)
        origin = {name: facts[name] for name in OF_ORIGIN if name in facts}
        config = {**self.run.config, "labels": task.labels, "run": origin}
        if (tracker := tracking.start(facts["wandb"], file, config)) is not None:
            trainer.loggers = [*trainer.loggers, loggers.guard(tracker)]

    def _open(self) -> Path:
        """Creates the folder, or reopens the one being resumed, and locks it for this process."""
        run = self.run
        folder = runs.make(run.given, run.name, run.resume)
        if not outputs.is_writable(folder):
            raise UserError(f"{runs.short(folder)} cannot be written; resume a copy of it")
        run.lock = runs.lock(folder)
        atomic.remove_stale(folder)
        atomic.remove_stale(folder / "checkpoints")
        return folder

    def _record(self, trainer: L.Trainer, task: Task) -> None:
        """Writes config.yaml, run.json, labels.json and what later verbs need of the data.

        Raises:
            WriteError: the disk has no room for them.
        """
        run, data = self.run, data_of(trainer)
        begun = read_json(run.home / "run.json")
        for name in ("unsaved", "lacks"):
            begun.pop(name, None)
        home = shlex.quote(runs.short(run.home))
        then = f"make room, then run it again with --run {home} --resume auto"
        with writing(run.home, then):
            facts = self._facts(trainer, task)
            # before config.yaml: a run that was done is not done with what another config asks
            if run.goes_on and begun:
                facts = _resumed(begun, facts)
            ended = begun.get("status") == "done"
            if run.wandb:  # before W&B knows of it: no kill makes two of one run
                facts["wandb"] = tracked.settle(begun.get("wandb", {}), run.wandb, ended)
            # without a checkpoint it begins anew, with the data and the seed of now
            write_json(run.home / "run.json", {**begun, **facts})
            if run.config:
                for line in runs.write_config(run.home, runs.as_yaml(run.config)):
                    log.info("%s", line)
            if not run.goes_on:
                # of a run that ended before it had a checkpoint
                (run.home / "metrics.csv").unlink(missing_ok=True)
            if data is not None:
                with atomic_files(run.home, "data") as made:
                    describe(task, data, made)
        trust.note(run.home, run.config)

    def _facts(self, trainer: L.Trainer, task: Task) -> dict[str, Any]:
        """What run.json says of a run's origin."""
        seed, data = os.environ.get("PL_GLOBAL_SEED"), data_of(trainer)
        digests = data.digests if data is not None else {}
        facts = {**provenance(int(seed) if seed else None, digests), "backbone": task.backbone}
        if data is not None and data.dropped:
            facts["dropped"] = list(data.dropped)
        if self.run.lacks:
            facts["lacks"] = self.run.lacks
        own = recorded.folders_of(task, data)
        facts["python_path"] = list(dict.fromkeys([*facts["python_path"], *own]))
        if self.run.ckpt_path is not None:
            facts["began_from"] = str(Path(self.run.ckpt_path).absolute())
        if self.run.source is not None:
            facts["from"] = self.run.source
        return facts

    def _check_shares(self, trainer: L.Trainer, stage: str) -> None:
        """Refuses to measure a share of train if what is held out now is not what was then.

        Raises:
            UserError: train was changed since the run, or what decides the share.
        """
        data, split = data_of(trainer), {"validate": "validation"}.get(stage, stage)
        if data is None or split not in data.files or data.files[split]:
            return
        was, now = resume_state.rows_of(self.run.home), data.digests.get("train")
        then = was.get("files", {}).get("train")
        if now is not None and then is not None and now != then:
            raise UserError(
                f"{data.files['train']} was changed since the run: the share held out of it is"
                " another; give data.test: FILE, or fit again"
            )
        for line in same_rows.changes(was, same_rows.asked(trainer, data)):
            if line.startswith(SHARES):
                raise UserError(f"{line}: the share held out is another, and has rows of training")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sets the number of epochs if none was given, and shows what is about to be done."""
        assert isinstance(pl_module, Task)
        if self.run.auto_epochs and self.run.budget is None:
            epochs = round(STEPS / optim.steps_per_epoch(trainer))
            trainer.fit_loop.max_epochs = min(max(EPOCHS[0], epochs), EPOCHS[1])
        schedule = callback.of(trainer)
        schedule.count(trainer)
        forecast = estimate.forecast(trainer, self.run, pl_module)
        for report in callbacks_of(trainer, Report):
            report.rest = forecast.rest if forecast else None
        if trainer.is_global_zero:
            planned = self.run.budget is None and (trainer.max_epochs or -1) > 0
            if self.run.folder is not None and planned:
                with contextlib.suppress(OSError):  # no result depends on it
                    runs.update(self.run.home, epochs=trainer.max_epochs)
            cost = estimate.words(trainer, self.run, pl_module, forecast)
            screen.table(summary.opening(trainer, self.run, pl_module, cost))
            screen.grid(*summary.layers(schedule, screen.console.width), wraps="lr")

    def on_train_batch_end(self, trainer: L.Trainer, *rest: Any) -> None:
        """Stops the run at max_steps: Lightning validates before a stop, but not at max_steps."""
        if trainer.global_step == optim.max_steps(trainer):
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the state at the end, before an average takes the place of the weights."""
        for last in callbacks_of(trainer, Last):
            last.end(trainer)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks closer at the test, and writes what it found."""
        assert isinstance(pl_module, Task)
        if self.run.folder is not None:
            results.finish_test(trainer, self.run, pl_module)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Records how the run ended."""
        if not (trainer.is_global_zero and self.begun and self.run.fitting):
            return
        asked = isinstance(exception, (KeyboardInterrupt, RunInterrupted))
        with contextlib.suppress(OSError):  # the disk may be what failed
            runs.update(self.run.home, status="stopped" if asked else "failed")
        code = 1
        if isinstance(exception, RunInterrupted):
            assert isinstance(exception.code, int)
            code = exception.code
        elif isinstance(exception, UserError):
            code = exception.status
        tracking.finish(trainer.loggers, code, preempted=code == EXIT_REQUEUE)


def describe(task: Task, data: DataModule, folder: Path) -> None:
    """Writes what later verbs need of task and data, and what an audit found."""
    kind = {} if data.kind is None else {"kind": data.kind}
    write_json(folder / "labels.json", {**kind, "labels": task.labels})
    (folder / "backbone").mkdir()
    loading.save_description(task.backbone, folder / "backbone")
    data.save_state(folder)
    if data.check == "fast":
        found = data.audited.findings
        remarks = findings.remarks(data.notes, found)
        findings.write(folder / "findings.jsonl", [*found, *remarks])


def _resumed(begun: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run that resumes: those of its start, with what is new; says what changed."""
    for name, now in facts["versions"].items():
        was = begun["versions"].get(name)
        if was != now:
            log.info(
                "the run began with %s %s and resumes with %s: weights may not be bit-equal",
                name,
                was,
                now,
            )
    anew = {name: facts[name] for name in ("command", "started", "versions")}
    lacks = {name: facts[name] for name in ("lacks",) if name in facts}
    return {
        **begun,
        **lacks,
        "status": "running",
        "data_sha256": facts["data_sha256"],  # a test may have been left out
        "resumed": [*begun.get("resumed", []), anew],
    }
