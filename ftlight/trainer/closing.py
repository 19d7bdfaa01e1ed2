"""What a run says on the screen once it is done: its score, what was kept, and what comes next."""

from __future__ import annotations

import lightning as L

from ftlight.data.module import DataModule
from ftlight.run import folder as runs
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer import overlap
from ftlight.trainer.best import Best
from ftlight.trainer.parts import data_of
from ftlight.trainer.scores import show
from ftlight.training.lightning_internals import callbacks_of
from ftlight.utils import format as fmt


def closing(trainer: L.Trainer, run: RunState, task: Task) -> list[tuple[str, str]]:
    """Rows of the table at the end: scores of the weights that were kept, files, next commands."""
    tested = "test" in task.evidence
    place, data = runs.short(run.home), data_of(trainer)
    if tested and data is not None:
        overlap.find(task, data, run, "test")
    files = ", test_metrics.json, test_predictions.csv" if tested else ""
    example = '--text "…"' if data is None else data.example
    return [
        *(show(task, "test") if tested else _validation(trainer, task)),
        *([("kept", kept)] if (kept := _kept(trainer, run)) else []),
        *([("stopped", why)] if (why := ended(trainer, run)) else []),
        *([] if tested or data is None else [("test", _untested(data, place))]),
        ("run", f"{place}: checkpoints, metrics.csv, config.yaml, run.json{files}"),
        ("next", f"python -m ftlight predict {place} {example}\npython -m ftlight export {place}"),
    ]


def _validation(trainer: L.Trainer, task: Task) -> list[tuple[str, str]]:
    """The validation of the weights that were kept, which need not be the last one."""
    best = callbacks_of(trainer, Best)
    if best:
        return best[0].shown
    return show(task, "val") if "val" in task.evidence else []


def _kept(trainer: L.Trainer, run: RunState) -> str:
    """Which weights best.ckpt holds."""
    if not run.saves:
        return ""
    best = next(iter(callbacks_of(trainer, Best)), None)
    if best is None or not best.best_model_path:
        return "the weights at the end: nothing was validated (data.validation)"
    score = "not defined" if best.score is None else fmt.number(best.score)
    if best.epoch is None:
        return f"the weights of the best {best.monitor}, {score}"
    return f"epoch {best.epoch}, step {best.step:,}: {best.monitor} {score}"


def ended(trainer: L.Trainer, run: RunState) -> str:
    """Why training ended before its last epoch; empty if it did not."""
    done, most = trainer.current_epoch, trainer.max_epochs or -1
    if 0 < most <= done:
        return ""
    for stopping in trainer.early_stopping_callbacks:
        if stopping.wait_count >= stopping.patience:
            count = f"{stopping.patience} validation{'s' if stopping.patience > 1 else ''}"
            return f"after epoch {done}: {count} without a better {stopping.monitor}"
    if most > 0 and 0 < run.max_steps <= trainer.global_step:
        return f"in epoch {done} of {most}: trainer.max_steps {run.max_steps:,}"
    return ""


def _untested(data: DataModule, place: str) -> str:
    """What to do for a score on rows that chose nothing."""
    if data.has("test"):
        return f"not yet: python -m ftlight test {place}"
    return (
        f"no test data: python -m ftlight test {place} --data.test FILE measures new rows;"
        " data.test_split: 0.1 holds a tenth of train out for that"
    )
