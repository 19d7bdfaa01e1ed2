"""What is kept of how a run learned, for a verdict: in run.json, and outcomes-start.npz."""

from __future__ import annotations

import math
from typing import Any

import lightning as L

from ftlight.data.module import DataModule
from ftlight.freezing import callback
from ftlight.freezing.schedule import HEAD_LR, MOST_RAISED, Stage
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer import outcomes
from ftlight.trainer.best import Best
from ftlight.trainer.parts import data_of
from ftlight.training.lightning_internals import callbacks_of, is_dry_run
from ftlight.utils.distributed import first_decides

START = "outcomes-start.npz"
RATES = 100  # of the schedule that are kept, about
ROWS = 200  # of validation that are measured before the first step


class Start(L.Callback):
    """Keeps how good weights are on some validation rows before the first step.

    They are measured by Lightning's own check before training, which leaves no trace in the run and
    is left out if that resumes.

    Args:
        run: state of the run.
    """

    def __init__(self, run: RunState) -> None:
        self.run = run

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Asks for the check if the weights can do the task before they are tuned."""
        assert isinstance(pl_module, Task)
        data, untuned = data_of(trainer), pl_module.starts_trained and pl_module.pretrained
        knows = untuned or self.run.source is not None
        asks = trainer.num_sanity_val_steps or is_dry_run(trainer)
        if knows and data is not None and not asks:
            at_once = data.batch_size * trainer.world_size
            trainer.num_sanity_val_steps = math.ceil(ROWS / at_once)

    def on_sanity_check_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the outcomes of the rows."""
        assert isinstance(pl_module, Task)
        if "val" in pl_module.evidence and self.run.folder is not None:
            found, path = pl_module.row_outcomes("val"), self.run.home / START
            first_decides(trainer, lambda: outcomes.write(self.run, path, found, data_of(trainer)))
            del pl_module.evidence["val"]


def facts(trainer: L.Trainer, run: RunState, task: Task, data: Any) -> dict[str, Any]:
    """What run.json keeps of how a run learned.

    Args:
        trainer: the trainer, at the end of training.
        run: state of the run.
        task: the task.
        data: its data module; if it is not ftlight's, its rows are not known.
    """
    best = next(iter(callbacks_of(trainer, Best)), None)
    sets = data.sets if isinstance(data, DataModule) else {}
    return {
        "monitor": task.monitor,
        "mode": task.mode,
        "rows": {split: len(sets[split]) for split in ("train", "validation") if split in sets},
        "labels": len(task.labels),
        "constant_loss": task.constant_loss(),
        "floor": task.floor,
        "rate": rate(trainer, task),
        "skipped_steps": task.guard.left_out,
        "kept_step": None if best is None else best.step,
        "ended_by": ended_by(trainer, run),
        "budget": None if run.budget is None else run.budget.seconds,
        **stages(callback.of(trainer), trainer.global_step),
    }


def stages(schedule: callback.Freezing, steps: int) -> dict[str, Any]:
    """The stages that a run went through, and the rate of its top layer at some steps.

    Args:
        schedule: the schedule, at the end of training.
        steps: optimizer steps of the run.

    Returns:
        ``stages``: what trained, from which step on, the rate, and whether frozen layers were
        read from the store; ``rates``: pairs of step and rate, none while a depth was searched for.
    """
    progress, stores = schedule.progress, schedule.stores
    if not progress.stage_starts:  # it had ended before, and nothing was left to train
        return {"stages": [], "rates": []}
    begun = list(enumerate(progress.stage_starts))
    searches = getattr(schedule, "search", None) is not None
    if searches:  # stages come and go: the last one is that of the weights
        begun = [(progress.stage, progress.stage_starts[-1])]
    # a run that had ended has no stores
    stored = [i < len(stores) and stores[i] is not None for i, _ in begun]
    found = [
        _stage(progress.stages[i], start, is_stored)
        for (i, start), is_stored in zip(begun, stored, strict=True)
    ]
    first = progress.stage_starts[0]
    if searches or steps <= first:
        return {"stages": found, "rates": []}
    always = [True] * len(progress.stages)
    at = [*range(first, steps, max(1, (steps - first) // RATES)), steps - 1]
    return {"stages": found, "rates": [[i, progress.at(i).lr(0, i, always)] for i in at]}


def _stage(stage: Stage, start: int, is_stored: bool) -> dict[str, Any]:
    lr = None if stage.solved else stage.lr
    return {"train": list(stage.train), "begins": start, "lr": lr, "stored": is_stored}


def rate(trainer: L.Trainer, task: Task) -> float:
    """The highest rate of a stage, in times the highest that ftlight would choose for it."""
    schedule, times = callback.of(trainer), [0.0]
    for stage, layers in zip(schedule.progress.stages, schedule.trainable_layers, strict=True):
        usual = HEAD_LR if layers <= {"head"} else task.default_lr(task.backbone) * MOST_RAISED
        times.append(0.0 if stage.solved else stage.lr / usual)
    return max(times)


def ended_by(trainer: L.Trainer, run: RunState) -> str:
    """What ended training: patience, budget, steps, epochs; empty if it is something else."""
    if any(s.wait_count >= s.patience for s in trainer.early_stopping_callbacks):
        return "patience"
    if 0 < run.max_steps <= trainer.global_step:
        return "steps"
    if 0 < (trainer.max_epochs or -1) <= trainer.current_epoch:
        return "epochs"  # also if a plan ended there: it was not cut
    budget = run.budget
    return "budget" if budget is not None and 0 < budget.total <= trainer.global_step else ""
