"""The end of a run: the test of its best weights, and what it says on the screen.

That is its score, what was kept, and what comes next; or what is not on the disk.
"""

from __future__ import annotations

from typing import Any

import lightning as L

from ftlight.data.module import DataModule
from ftlight.freezing.auto import LEAST_ROWS
from ftlight.freezing.callback import Freezing
from ftlight.run import console as screen
from ftlight.run import folder as runs
from ftlight.run import loggers, tracking, tracking_end
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer import calibrating, learning, outcomes
from ftlight.trainer.best import Best, is_cut_short
from ftlight.trainer.parts import data_of
from ftlight.trainer.saving import flush, missing, note_end, save
from ftlight.trainer.scores import show
from ftlight.training import memory
from ftlight.training.checkpoint import fault
from ftlight.training.lightning_internals import callbacks_of
from ftlight.utils import format as fmt
from ftlight.utils.distributed import first_decides
from ftlight.utils.errors import WriteError
from ftlight.utils.format import counted, span


def conclude(trainer: L.Trainer, run: RunState, task: Task, data: Any) -> None:
    """Tests the best weights, records that the run is done, and shows a table.

    All processes must call this.

    Args:
        trainer: the trainer.
        run: state of its run.
        task: the task.
        data: its data module; if it is not ftlight's, nothing is tested.

    Raises:
        WriteError: not all that belongs to the run is on the disk; on the first process.
    """
    _keep_some(trainer, run, task)
    flush(trainer, run)
    if run.test and isinstance(data, DataModule) and data.has("test"):
        best = run.best_path
        if best is not None and run.is_unwritten(best):
            run.note(run.home / "test_metrics.json", f"{best} is not there to be tested")
        else:
            trainer.test(task, datamodule=data, ckpt_path=best, verbose=False)
            flush(trainer, run)
    if trainer.is_global_zero and run.folder is not None:
        _close(trainer, run, task)


def _keep_some(trainer: L.Trainer, run: RunState, task: Task) -> None:
    """Keeps the weights as they are if no best ones were, and nothing was left to train."""
    best = run.best_path
    if best is None or run.is_unwritten(best):
        return
    if any(c.best_model_path for c in callbacks_of(trainer, Best)):
        return
    if first_decides(trainer, lambda: bool(fault(best))):
        calibrating.adopt(run, task)
        save(trainer, run, best, weights_only=True, keep=True)


def _close(trainer: L.Trainer, run: RunState, task: Task) -> None:
    for best in callbacks_of(trainer, Best):
        file = run.home / "outcomes-validation.npz"
        outcomes.write(run, file, best.outcomes, data_of(trainer))
    calibrating.write(run)
    kept = callbacks_of(trainer, Best)
    scores = {c.monitor: c.score for c in kept if c.score is not None}
    facts: dict[str, Any] = {
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "best": scores,
        "intervals": {c.monitor: list(c.interval) for c in kept if c.interval},
    }
    for schedule in callbacks_of(trainer, Freezing):
        facts["weights"] = schedule.trained_weights
    is_whole = not run.goes_on and trainer.world_size == 1
    if is_whole and run.meter is not None:  # what one process took from first to last
        facts["cost"] = run.meter.read()._asdict()
    facts["memory"] = memory.peak(trainer.strategy.root_device)
    if run.budget is not None and run.budget.totals:
        facts["planned"] = run.budget.totals
    facts["learning"] = learning.facts(trainer, run, task, data_of(trainer))
    note_end(run, **facts)
    screen.table(closing(trainer, run, task))
    lacks = missing(run)
    if lacks or run.tracks_to_end:
        track(trainer, run, task, code=WriteError.status if lacks else 0)
    if lacks:
        raise WriteError(lacks)


def track(trainer: L.Trainer, run: RunState, task: Task, page: str = "", code: int = 0) -> None:
    """Sends W&B what a run has found at its end, and ends it there.

    Args:
        trainer: the trainer.
        run: state of its run.
        task: the task.
        page: the page about the run, as HTML.
        code: exit status of the process.
    """
    data = data_of(trainer)
    matrices = {stage: found.confusion for stage, found in task.evidence.items()}
    found = tracking_end.Found(
        run.home,
        {stage: (m.tolist(), task.labels) for stage, m in matrices.items() if m is not None},
        page,
        data is not None and data.log_text,
    )
    for tracker in tracking.of(trainer.loggers):
        loggers.attempt(tracker, tracking_end.send, tracker, found)
    tracking.finish(trainer.loggers, code)


def closing(trainer: L.Trainer, run: RunState, task: Task) -> list[tuple[str, str]]:
    """Rows of the table at the end: scores of the weights that were kept, files, next commands."""
    tested = "test" in task.evidence
    place, data = runs.short(run.home), data_of(trainer)
    files = ", findings.jsonl" if (run.home / "findings.jsonl").is_file() else ""
    files += ", test_metrics.json, test_predictions.csv, wrong.csv" if tested else ""
    example = '--text "…"' if data is None else data.example
    return [
        *(show(task, "test") if tested else _validation(trainer, task)),
        *([("kept", kept)] if (kept := _kept(trainer, run)) else []),
        *([("stopped", why)] if (why := ended(trainer, run)) else []),
        *([("", more)] if (more := _more(trainer, run)) else []),
        *([] if tested or data is None else [("test", _untested(data, place))]),
        ("run", f"{place}: checkpoints, metrics.csv, config.yaml, run.json{files}"),
        *([("repeat", again)] if (again := _repeat(run, place)) else []),
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
        hint = "nothing was validated (data.validation)" if best is None else "before a validation"
        return f"the weights at the end: {hint}"
    score = "not defined" if best.score is None else fmt.number(best.score)
    if best.chosen != best.score:
        score += f" ({fmt.number(best.chosen)} on the half that chooses)"
    if best.tied is not None and best.tied != best.epoch:
        score += f", as good as epoch {best.tied} and with a lower loss"
    if best.epoch is None:
        return f"the weights of the best {best.monitor}, {score}"
    place = f"epoch {best.epoch}, step {best.step:,}" if best.step else "the head as solved, step 0"
    return f"{place}: {best.monitor} {score}"


def ended(trainer: L.Trainer, run: RunState) -> str:
    """Why training ended before its last epoch; empty if it did not."""
    done, most = trainer.current_epoch, trainer.max_epochs or -1
    if 0 < most <= done:
        return ""
    for stopping in trainer.early_stopping_callbacks:
        if stopping.wait_count >= stopping.patience:
            count = f"{stopping.patience} validation{'s' if stopping.patience > 1 else ''}"
            why = f"after epoch {done}: {count} without a better {stopping.monitor}"
            return f"{why}{_left(run)}{_few(trainer)}"
    if run.budget is not None and 0 < run.budget.total <= trainer.global_step:
        return f"as planned for {span(run.budget.seconds)}, after {run.budget.total:,} steps"
    if most > 0 and 0 < run.max_steps <= trainer.global_step:
        return f"in epoch {done} of {most}: trainer.max_steps {run.max_steps:,}"
    return ""


def _more(trainer: L.Trainer, run: RunState) -> str:
    """What to do if the last epoch or step came while a run was learning; empty otherwise."""
    best = next(iter(callbacks_of(trainer, Best)), None)
    if best is None or best.sign < 0 or run.budget is not None:
        return ""
    if any(s.wait_count >= s.patience for s in trainer.early_stopping_callbacks):
        return ""
    if 0 < (trainer.max_epochs or -1) <= trainer.current_epoch:
        longer = f"--trainer.max_epochs {2 * (trainer.max_epochs or 1)}"
    elif 0 < run.max_steps <= trainer.global_step:
        longer = f"--trainer.max_steps {2 * run.max_steps}"
    else:
        return ""
    if not is_cut_short(best.losses, best.score, best.mcc):
        return ""
    return f"val/loss still fell: more training is likely to help: {run.resume_command} {longer}"


def _left(run: RunState) -> str:
    """How much of its time limit a run leaves; empty if it has none, or has used it up."""
    left = run.budget.seconds - run.budget.used if run.budget is not None else 0.0
    if run.budget is None or left < 1:
        return ""
    return f"; {span(left)} of {span(run.budget.seconds)} are left"


def _few(trainer: L.Trainer) -> str:
    """What to do if so few rows ended a run that chance may have; empty otherwise."""
    data = data_of(trainer)
    rows = len(data.load_split("validation")) if data and data.has("validation") else LEAST_ROWS
    if rows >= LEAST_ROWS:
        return ""
    return f"; {counted(rows, 'row', 'tell')} little: --trainer.patience 0 trains to the end"


def _repeat(run: RunState, place: str) -> str:
    """How to repeat a run with a time limit to the bit; empty if it has none."""
    if run.budget is None or not run.budget.totals or not run.config:
        return ""
    if len(run.budget.totals) > 1:
        return "no number of steps alone repeats it: the plan was lowered (planned in run.json)"
    steps = f"--budget null --trainer.max_steps {run.budget.total}"
    return f"python -m ftlight fit -c {place}/config.yaml {steps}"


def _untested(data: DataModule, place: str) -> str:
    """What to do for a score on rows that chose nothing."""
    if data.has("test"):
        return f"not yet: python -m ftlight test {place}"
    return (
        f"no test data: python -m ftlight test {place} --data.test FILE measures new rows;"
        " data.test_split: 0.1 holds a tenth of train out for that"
    )
