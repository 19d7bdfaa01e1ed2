"""Test rows predicted again with words exchanged (data.swaps): which answers change."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from ftlight.data.module import DataModule
from ftlight.data.swaps import Exchanged
from ftlight.metrics.collected import select
from ftlight.metrics.statistics import wilson
from ftlight.models.modes import evaluating
from ftlight.task import Task
from ftlight.utils.distributed import gather_objects
from ftlight.utils.errors import shortened
from ftlight.utils.format import number

log = logging.getLogger(__name__)


def find(trainer: L.Trainer, task: Task, data: DataModule) -> None:
    """Adds to the evidence of a test how many answers change; all processes must call this.

    Args:
        trainer: the trainer, in its test.
        task: the task, with its evaluation.
        data: the data module.
    """
    result = task.evidence["test"]
    if result.numbers is None or result.outputs is None:
        return
    exchanged = data.exchanged("test", result.numbers.tolist())
    if exchanged is None:
        return
    if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
        log.info("data.swaps: not under %s", type(trainer.strategy).__name__)
        return
    shown, facts = "no test row holds one of the words", {"rows": 0}
    if exchanged.rows:
        place = {row: i for i, row in enumerate(result.numbers.tolist())}
        outputs = select(result.outputs, [place[row] for row in exchanged.rows])
        before = task.postprocess(outputs, data.rows("test", exchanged.rows))
        after = _predict(trainer, task, data, exchanged)
        facts = compare(exchanged, before, after, getattr(task, "kind", "single"))
        shown = line(facts)
    task.evidence["test"] = result._replace(
        facts={**result.facts, "swaps": facts}, shown=[*result.shown, ("swaps", shown)]
    )


def _predict(
    trainer: L.Trainer, task: Task, data: DataModule, exchanged: Exchanged
) -> list[dict[str, Any]]:
    """Predicts the texts with words exchanged; the answers of all processes, in order."""
    data.sets["predict"] = exchanged.encoded
    own: dict[int, dict[str, Any]] = {}
    precision = trainer.precision_plugin
    with evaluating(task), torch.inference_mode():
        for plain in data.predict_dataloader():
            batch = precision.convert_input(move_data_to_device(plain, task.device))
            with precision.predict_step_context():
                outputs = task.evaluate(batch).outputs
            answers = task.postprocess(outputs, [{}] * len(batch["index"]))
            own.update(zip(batch["index"], answers, strict=True))
    answers_of = {}
    for found in gather_objects(own, trainer.world_size):
        answers_of.update(found)
    return [answers_of[i] for i in range(len(exchanged.rows))]


def compare(
    exchanged: Exchanged,
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    kind: str = "single",
) -> dict[str, Any]:
    """What exchanging words does to answers.

    Args:
        exchanged: the rows, one at least.
        before: their answers.
        after: the same with words exchanged.
        kind: single, multi or regression.

    Returns:
        ``rows``; ``mean_change``, upwards or downwards, of the probability of the first answer, of
        the label that changes most of several, or of the number; ``changed`` (rows with another
        answer), their ``share`` with its interval ``low`` to ``high``, except for numbers; and an
        ``example``: the row that changes most, of those with another answer if any.
    """
    pairs = list(zip(before, after, strict=True))
    moves = [_change(old, new, kind) for old, new in pairs]
    changed = [old["prediction"] != new["prediction"] for old, new in pairs]
    if kind == "regression":
        changed = [False] * len(pairs)
    rows, count = len(moves), sum(changed)
    most = max(range(rows), key=lambda i: (changed[i], moves[i]))
    facts: dict[str, Any] = {"rows": rows, "mean_change": sum(moves) / rows}
    facts["example"] = {
        "text": exchanged.before[most],
        "exchanged": exchanged.after[most],
        "answer": before[most]["prediction"],
        "answer_exchanged": after[most]["prediction"],
        "change": moves[most],
    }
    if kind != "regression":
        low, high = wilson(count / rows, rows)
        facts |= {"changed": count, "share": count / rows, "low": low, "high": high}
    return facts


def _change(old: dict[str, Any], new: dict[str, Any], kind: str) -> float:
    """How far an answer moves, as :func:`compare` says."""
    if kind == "regression":
        return float(abs(old["prediction"] - new["prediction"]))
    names = [old["prediction"]] if kind == "single" else list(old["probabilities"])
    shifts = (old["probabilities"][name] - new["probabilities"][name] for name in names)
    return float(max(map(abs, shifts)))


def line(facts: dict[str, Any]) -> str:
    """What the screen says of it."""
    example = facts["example"]
    texts = " → ".join(repr(shortened(example[key])) for key in ("text", "exchanged"))
    old, new = (_shown(example[key]) for key in ("answer", "answer_exchanged"))
    rows, mean = f"{facts['rows']:,} rows", number(facts["mean_change"])
    if "share" not in facts:
        return f"{rows} change by {mean} on average; for example {texts}: {old} → {new}"
    answers = f"{old} → {new}" if facts["changed"] else f"still {old}"
    share, low, high = (f"{100 * facts[key]:.1f}" for key in ("share", "low", "high"))
    return (
        f"{facts['changed']:,} of {rows} change their answer with words exchanged"
        f" ({share} %, 95 % interval {low} to {high}); its probability changes by"
        f" {mean} on average; for example {texts}: {answers}"
    )


def _shown(answer: str | float) -> str:
    if isinstance(answer, str):
        return answer or "no label"
    return number(answer)
