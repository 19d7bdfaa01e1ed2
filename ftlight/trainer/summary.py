"""What a run says of itself on the screen: what is about to be done, and what came of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ftlight.data.module import DataModule
from ftlight.freezing import callback
from ftlight.freezing.callback import Freezing
from ftlight.freezing.schedule import starts
from ftlight.models.layers import num_layers
from ftlight.run import console as screen
from ftlight.run import folder as runs
from ftlight.task import Task
from ftlight.training import optim
from ftlight.utils import format as fmt


def opening(trainer: Any, task: Task) -> list[tuple[str, str]]:
    """What the table at the start says."""
    data = trainer.datamodule
    total = sum(p.numel() for p in task.model.parameters())
    rows: list[tuple[str, str]] = []
    if isinstance(data, DataModule):
        sizes = ", ".join(f"{name} {len(table):,}" for name, table in data.sets.items())
        labels = f"; {len(task.labels)} labels" if task.labels else ""
        rows.append(("data", f"{sizes} rows{labels}; batches of {data.batch_size} rows"))
        rows += [("", note) for note in data.notes]
    depth = num_layers(callback.of(trainer).layers)
    said = task.describe()
    model = f"{task.backbone}: {fmt.count(total)} parameters; {depth} layers{said and '; '}{said}"
    rates = (
        f"{task.lr_schedule}, warm-up {task.warmup:.0%}; weight decay {task.weight_decay:g};"
        f" gradients clipped at {trainer.gradient_clip_val or 'no norm'}; {trainer.precision}"
    )
    why = (
        " (about 1,000 steps, at least 3, at most 30 epochs: trainer.max_epochs)"
        if trainer.auto_epochs
        else ""
    )
    stops = trainer.early_stopping_callback
    patience = (
        f"; stops after {stops.patience} validations without a better {stops.monitor}"
        if stops
        else ""
    )
    epochs = (
        f"{trainer.max_epochs} epochs of {optim.steps_per_epoch(trainer)} steps"
        if (trainer.max_epochs or 0) > 0
        else ""
    )
    limit = (
        ", ".join(
            filter(
                None,
                [epochs, f"at most {trainer.steps_limit} steps" if trainer.steps_limit > 0 else ""],
            )
        )
        or "by time"
    )
    plan = (
        f"{limit}{why}{patience}; seed {os.environ.get('PL_GLOBAL_SEED', 'none')};"
        f" {trainer.world_size} x {trainer.strategy.root_device.type}"
    )
    return [*rows, ("model", model), ("rates", rates), ("run", plan), ("", str(trainer.folder))]


def layers(schedule: Freezing, width: int = 36) -> tuple[list[str], list[list[str]], str]:
    """The schedule as a table: header, a row for layers that are treated alike (top first), and what the picture's marks mean."""
    progress = schedule.progress
    total, decay, names = progress.total, schedule.task.weight_decay, list(schedule.layers)
    numel = schedule.numel
    trained = set().union(*schedule.trainable_params)
    begins = starts(progress.lengths(), total)
    alike: list[
        tuple[str, list[str], list[list[str]]]
    ] = []  # marks, layers, rates of each by stage
    for height, name in enumerate(names):
        depth = len(names) - 1 - height
        kept = [store is not None and _below(name, store, names) for store in schedule.stores]
        marks = "".join(
            "█" if name in t else "▒" if k else "░"
            for t, k in zip(schedule.trainable_layers, kept, strict=True)
        )
        rates = [
            fmt.rate(s.lr * s.layer_decay**depth)
            for s, t in zip(progress.stages, schedule.trainable_layers, strict=True)
            if name in t
        ]
        if not alike or alike[-1][0] != marks or name.split()[0] != alike[-1][1][-1].split()[0]:
            alike.append((marks, [], []))
        alike[-1][1].append(name)
        alike[-1][2].append(rates)
    rows = []
    for marks, members, by_layer in alike:
        mine = [n for m in members for n in schedule.layers[m]]
        count, some = sum(numel[n] for n in mine), sum(numel[n] for n in mine if n in trained)
        size = (
            fmt.count(count) if some in (0, count) else f"{fmt.count(some)} of {fmt.count(count)}"
        )
        stages = [", ".join(str(i + 1) for i, m in enumerate(marks) if m == mark) for mark in "█▒"]
        bar = _bar(marks, begins, total, width)
        rows.append(
            [
                _names(members),
                size,
                bar,
                stages[0] or "never",
                _rates(by_layer),
                f"{decay:g}",
                stages[1] or "-",
            ]
        )
    head = [
        "layer",
        "parameters",
        _ruler(total / progress.per_epoch if total else 0, width),
        "stages",
        "lr",
        "decay",
        "cached in",
    ]
    words = {"█": "trains", "░": "frozen", "▒": "frozen, run once and kept"}
    used = [
        (mark, word) for mark, word in words.items() if any(mark in marks for marks, _, _ in alike)
    ]
    return head, rows[::-1], "  ".join(f"{m} {w}" for m, w in used)


def _below(layer: str, store: int, names: list[str]) -> bool:
    """Whether a layer lies below a store."""
    depth = num_layers(names)
    return layer in (
        "embeddings",
        *(f"layer {i}" for i in range(store)),
        *(["post"] if store == depth else []),
    )


def _names(members: list[str]) -> str:
    return (
        members[0]
        if len(members) == 1
        else f"layer {members[0].split()[1]} to {members[-1].split()[1]}"
    )


def _rates(rates: list[list[str]]) -> str:
    """Rates of alike layers by stage, as a range where they differ."""
    ends = zip(rates[0], rates[-1], strict=True)
    return ", then ".join(low if low == high else f"{low} to {high}" for low, high in ends) or "-"


def _bar(marks: str, begins: list[int], total: int, width: int) -> str:
    """A layer over the run: the mark of the stage at each place.

    >>> _bar("░█", [0, 25], 100, 8)
    '░░██████'
    """
    at = [(i + 0.5) / width * total for i in range(width if total else 0)]
    return "".join(marks[max(n for n, b in enumerate(begins) if b <= step)] for step in at)


def _ruler(epochs: float, width: int) -> str:
    """Numbers of epochs over a picture.

    >>> _ruler(4, 20)
    '1    2    3    4    '
    """
    line = [" "] * width
    every = max(1, round(epochs / 8))
    for epoch in range(0, int(epochs), every):
        at = round(epoch / epochs * width)
        text = str(epoch + 1)
        if at + len(text) <= width:
            line[at : at + len(text)] = text
    return "".join(line)


def show(task: Task, stage: str) -> list[tuple[str, str]]:
    """What an evaluation showed, as rows of a table: score with interval and rows, further metrics, confusions."""
    evidence = task.evidence[stage]

    def said(name: str) -> str:
        low, high = evidence.intervals.get(name, (None, None))
        interval = (
            ""
            if low is None or high is None
            else f"95 % interval {fmt.number(low)} to {fmt.number(high)}"
        )
        seen = f"{evidence.rows:,} rows" if name == task.primary_metric else ""
        more = ", ".join(filter(None, [interval, seen]))
        return fmt.number(evidence.values[name]) + (f" ({more})" if more else "")

    others = ", ".join(f"{k} {said(k)}" for k in evidence.values if k != task.primary_metric)
    rows = [(f"{stage} {task.primary_metric}", said(task.primary_metric)), ("also", others)]
    if evidence.confusion is not None and (
        worst := screen.confusions(evidence.confusion, task.labels)
    ):
        rows.append(("confused", "; ".join(worst)))
    return rows


def interpolated(made: dict[str, Any], task: Task) -> list[tuple[str, str]]:
    """What was made of pre-trained and fine-tuned weights."""
    scores = ", ".join(f"{k}: {fmt.number(v)}" for k, v in made.get("validation", {}).items())
    return [
        ("weights", f"{made['share']:g} fine-tuned, {1 - made['share']:g} pre-trained"),
        *([(task.monitor, scores)] if scores else []),
    ]


def closing(task: Task, folder: Path) -> list[tuple[str, str]]:
    """What the table at the end says: the score, where everything lies, the next two commands."""
    stage = "test" if "test" in task.evidence else "val"
    place = runs.short(folder)
    made = ", test_metrics.json, test_predictions.csv" if stage == "test" else ""
    example = task.data.example if isinstance(task.data, DataModule) else '--text "…"'
    return [
        *(show(task, stage) if stage in task.evidence else []),
        ("run", f"{place}: checkpoints, metrics.csv, config.yaml, run.json{made}"),
        ("next", f"python -m ftlight predict {place} {example}\npython -m ftlight export {place}"),
    ]
