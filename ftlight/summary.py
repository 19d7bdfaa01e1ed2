"""What a run says of itself on the screen: what is about to be done, and what came of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ftlight import optim, run, screen
from ftlight.data.module import DataModule
from ftlight.layers import layer_groups
from ftlight.task import Task


def opening(trainer: Any, task: Task) -> list[tuple[str, str]]:
    """What the table at the start says."""
    data = trainer.datamodule
    total = sum(p.numel() for p in task.model.parameters())
    trained = sum(p.numel() for p in task.model.parameters() if p.requires_grad)
    layers = layer_groups(task.model)
    rows: list[tuple[str, str]] = []
    if isinstance(data, DataModule):
        sizes = ", ".join(f"{name} {len(table):,}" for name, table in data.sets.items())
        labels = f"; {len(task.labels)} labels" if task.labels else ""
        rows.append(("data", f"{sizes} rows{labels}; batches of {data.batch_size} rows"))
        rows += [("", note) for note in data.notes]
    decay = f", x{task.layer_decay:g} per layer down" if task.layer_decay != 1 else ""
    depth = sum(name.startswith("layer ") for name in layers)
    said = task.describe()
    model = f"{task.backbone}: {screen.count(total)} parameters, {trained / total:.0%} trained; {depth} layers{said and '; '}{said}"
    rates = (
        f"lr {task.lr:.2g} {task.lr_schedule}, warm-up {task.warmup:.0%}{decay}; weight decay {task.weight_decay:g};"
        f" gradients clipped at {trainer.gradient_clip_val or 'no norm'}; {trainer.precision}"
    )
    why = " (about 1,000 steps, at least 3, at most 30 epochs: trainer.max_epochs)" if trainer.auto_epochs else ""
    stops = trainer.early_stopping_callback
    patience = f"; stops after {stops.patience} validations without a better {stops.monitor}" if stops else ""
    epochs = f"{trainer.max_epochs} epochs of {optim.steps_per_epoch(trainer)} steps" if (trainer.max_epochs or 0) > 0 else ""
    limit = ", ".join(filter(None, [epochs, f"at most {trainer.max_steps} steps" if trainer.max_steps > 0 else ""])) or "by time"
    plan = (
        f"{limit}{why}{patience}; seed {os.environ.get('PL_GLOBAL_SEED', 'none')};"
        f" {trainer.world_size} x {trainer.strategy.root_device.type}"
    )
    return [*rows, ("model", model), ("rates", rates), ("run", plan), ("", str(trainer.folder))]


def show(task: Task, stage: str) -> list[tuple[str, str]]:
    """What an evaluation showed, as rows of a table: score with interval and rows, further metrics, confusions."""
    evidence = task.evidence[stage]
    low, high = evidence.interval
    interval = f"95 % interval {screen.number(low)} to {screen.number(high)}, {evidence.rows:,} rows"
    others = ", ".join(f"{k} {screen.number(v)}" for k, v in evidence.values.items() if k != task.score)
    rows = [(f"{stage} {task.score}", f"{screen.number(evidence.values[task.score])} ({interval})"), ("also", others)]
    if evidence.confusion is not None and (worst := screen.confusions(evidence.confusion, task.labels)):
        rows.append(("confused", "; ".join(worst)))
    return rows


def closing(task: Task, folder: Path) -> list[tuple[str, str]]:
    """What the table at the end says: the score, where everything lies, the next two commands."""
    stage = "test" if "test" in task.evidence else "val"
    place = run.short(folder)
    made = ", test_metrics.json, test_predictions.csv" if stage == "test" else ""
    return [
        *(show(task, stage) if stage in task.evidence else []),
        ("run", f"{place}: checkpoints, metrics.csv, config.yaml, run.json{made}"),
        ("next", f'python -m ftlight predict {place} --text "…"\npython -m ftlight export {place}'),
    ]
