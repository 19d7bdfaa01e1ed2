"""What a run says on the screen before it trains: its data, model and limits, and the schedule."""

from __future__ import annotations

import os
from typing import NamedTuple

import lightning as L

from ftlight.data import findings
from ftlight.data.module import DataModule
from ftlight.freezing import callback
from ftlight.freezing.auto import Search, trial_steps
from ftlight.freezing.callback import Freezing
from ftlight.freezing.schedule import starts
from ftlight.freezing.thaw import Thawing
from ftlight.freezing.verify import DIFFERS
from ftlight.models.layers import num_layers
from ftlight.run.folder import short
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.trainer.parts import data_of
from ftlight.training import optim
from ftlight.utils import format as fmt
from ftlight.utils.format import counted

GAP = 2  # between columns
LEAST, MOST = 8, 36  # characters of the picture
MARKS = {"█": "trains", "░": "frozen", "▒": "frozen, run once and kept"}

IDLE = (
    "no stage trains an adapter of model.peft, which changes nothing so: leave it out, or give"
    " model.unfreeze: all"
)


def opening(trainer: L.Trainer, run: RunState, task: Task, cost: str) -> list[tuple[str, str]]:
    """The rows of the table at the start; its last but one says what the run costs, if known."""
    depth = num_layers(callback.of(trainer).layers)
    count = fmt.count(sum(p.numel() for p in task.model.parameters()))
    model = [f"{task.backbone}: {count} parameters", f"{depth} layers", task.describe()]
    rates = [
        f"{task.lr_schedule}{_over(callback.of(trainer))}, warm-up {task.warmup:.0%}",
        f"weight decay {task.weight_decay:g}{f', L2-SP {task.l2_sp:g}' if task.l2_sp else ''}",
        f"gradients clipped at {trainer.gradient_clip_val or 'no norm'}",
        str(trainer.precision),
    ]
    device = trainer.strategy.root_device.type
    plan = [
        _limits(trainer, run),
        f"seed {os.environ.get('PL_GLOBAL_SEED', 'none')}",
        f"{trainer.world_size} x {device}",
    ]
    return [
        *_data(trainer, task, run),
        ("model", "; ".join(filter(None, model))),
        *([("", IDLE)] if task.peft is not None and callback.of(trainer).trains_head_alone else []),
        *([("from", f"{run.source}: {run.taken}")] if run.taken else []),
        ("rates", "; ".join(rates)),
        ("run", "; ".join(plan)),
        *([("cost", cost)] if cost else []),
        ("", str(run.folder)),
    ]


def _over(schedule: Freezing) -> str:
    """Over what the rate falls, if the schedule has several stages."""
    stages, total = schedule.progress.stages, schedule.progress.total
    if len(stages) == 1:
        return ""
    is_one = total and any(stage.lr_over == "run" for stage in stages)
    return " over the run" if is_one else " over each stage"


def _data(trainer: L.Trainer, task: Task, run: RunState) -> list[tuple[str, str]]:
    data = data_of(trainer)
    if data is None:
        return []
    sizes = ", ".join(f"{name} {len(table):,}" for name, table in data.sets.items())
    labels = f"; {len(task.labels)} labels" if task.labels else ""
    about = f"{sizes} rows{labels}; batches of {data.batch_size} rows"
    notes, schedule = _notes(data, run), callback.of(trainer)
    stages = schedule.progress.stages
    if data.varies and schedule.progress.solves:
        notes.append("the head is solved on training rows as they are, without augmentation")
    steps_frozen = any(schedule.cut(i) for i, s in enumerate(stages) if not s.solved)
    if schedule.draws and steps_frozen:
        notes.append(
            f"while lower layers are frozen, each training row has {schedule.draws} augmented"
            " forms, one an epoch in turn (model.cache_draws)"
        )
    elif data.varies and steps_frozen:
        notes.append(f"the frozen layers run at every step: {DIFFERS}")
    return [("data", about), *(("", note) for note in notes)]


def _notes(data: DataModule, run: RunState) -> list[str]:
    """What is to be known of the data; findings of a run that goes on were said before."""
    if not run.goes_on or data.check == "off":
        return list(data.notes)
    told = set(findings.notes(data.audited.findings))
    notes = [note for note in data.notes if note not in told]
    if len(notes) < len(data.notes):
        notes.append(f"findings as before: {short(run.home)}/findings.jsonl")
    return notes


def _limits(trainer: L.Trainer, run: RunState) -> str:
    """What ends the run, in words."""
    if callback.of(trainer).progress.only_solves:
        return "no steps: the head is solved on all training rows at once"
    limits = []
    if run.budget is not None:
        data = data_of(trainer)
        limits.append(run.budget.words(run.test and data is not None and data.has("test")))
    if (trainer.max_epochs or 0) > 0:
        steps = optim.steps_per_epoch(trainer)
        most = "at most " if run.budget else ""
        limits.append(f"{most}{trainer.max_epochs} epochs of {steps} steps")
    if run.max_steps > 0:
        limits.append(f"at most {run.max_steps} steps")
    words = "; ".join(limits) if run.budget else ", ".join(limits)
    if run.auto_epochs and run.budget is None:
        words += " (about 1,000 steps, at least 3, at most 30 epochs: trainer.max_epochs)"
    if run.too_few:
        words += f"; {counted(run.too_few, 'validation row', 'are')} too few to stop it early"
    if stop := trainer.early_stopping_callback:
        words += f"; stops after {stop.patience} validations without a better {stop.monitor}"
    return words


class _Row(NamedTuple):
    """Neighbouring layers that are treated alike: their marks by stage, names, rates by stage."""

    marks: str
    names: list[str]
    rates: list[list[str]]


def layers(schedule: Freezing, screen: int) -> tuple[list[str], list[list[str]], str]:
    """The schedule as a table.

    Args:
        schedule: the schedule of a run that has begun.
        screen: characters of a line, which the picture takes what the numbers leave of.

    Returns:
        The header; a row for layers that are treated alike, top first; what the marks mean.
    """
    search = schedule.search if isinstance(schedule, Thawing) else None
    total = schedule.progress.steps
    epochs = total / schedule.progress.per_epoch if total else 0
    alike = _alike(schedule)[::-1]
    columns = ["layer", "parameters", "stages", "lr", "cached in"]
    rows = [_cells(schedule, row) for row in alike]
    if all(row[-1] == "-" for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    if search is not None:  # which stages come, and when, is not known
        return columns, rows, tries(search, schedule.progress.per_epoch)
    width = screen - sum(GAP + max(map(len, c)) for c in zip(columns, *rows, strict=True)) - GAP
    if width >= LEAST:
        width, begins = min(MOST, width), starts(schedule.progress.lengths(), total)
        columns.insert(2, _ruler(epochs, width))
        for cells, row in zip(rows, alike, strict=True):
            cells.insert(2, _bar(row.marks, begins, total, width))
    used = [m for m in MARKS if any(m in row.marks for row in alike)]
    return columns, rows, "  ".join(f"{m} {MARKS[m]}" for m in used)


def tries(search: Search, per_epoch: float) -> str:
    """What ``unfreeze: auto`` is about to do, in a line.

    >>> tries(Search(6), per_epoch=250)
    'stages 2 to 6 are tried in turn, for 125 steps each, and kept if validation is sure'
    """
    steps = trial_steps(per_epoch)
    stages = (
        f"stages {search.start + 2} to {search.count} are tried in turn, for {steps:,} steps each"
    )
    return f"{stages}, and kept if validation is sure"


def _alike(schedule: Freezing) -> list[_Row]:
    """The layers from the bottom, those treated alike in one row."""
    rows: list[_Row] = []
    names = list(schedule.layers)
    for height, name in enumerate(names):
        marks = _marks(schedule, name, names)
        rates = _rates_of(schedule, name, depth=len(names) - 1 - height)
        same_kind = bool(rows) and name.split()[0] == rows[-1].names[-1].split()[0]
        if not same_kind or rows[-1].marks != marks:
            rows.append(_Row(marks, [], []))
        rows[-1].names.append(name)
        rows[-1].rates.append(rates)
    return rows


def _marks(schedule: Freezing, name: str, names: list[str]) -> str:
    """What happens to a layer in each stage, as a mark."""
    marks = ""
    for trained, store in zip(schedule.trainable_layers, schedule.stores, strict=True):
        if name in trained:
            marks += "█"
        else:
            marks += "▒" if store is not None and _below(name, store, names) else "░"
    return marks


def _rates_of(schedule: Freezing, name: str, depth: int) -> list[str]:
    """The learning rates of a layer, by the stages in which it trains."""
    stages = zip(schedule.progress.stages, schedule.trainable_layers, strict=True)
    return [
        "solved" if s.solved else fmt.rate(s.lr * s.layer_decay**depth)
        for s, trained in stages
        if name in trained
    ]


def _cells(schedule: Freezing, row: _Row) -> list[str]:
    """A row of the table, without its picture."""
    parameters = [n for name in row.names for n in schedule.layers[name]]
    ever_trained = set().union(*schedule.trainable_params)
    count = sum(schedule.numel[n] for n in parameters)
    trained = sum(schedule.numel[n] for n in parameters if n in ever_trained)
    size = fmt.count(count)
    if trained not in (0, count):
        size = f"{fmt.count(trained)} of {size}"
    return [
        _names(row.names),
        size,
        _stages(row.marks, "█") or "never",
        _rates(row.rates),
        _stages(row.marks, "▒") or "-",
    ]


def _stages(marks: str, mark: str) -> str:
    """The numbers of the stages that have a mark.

    >>> _stages("░██", "█")
    '2, 3'
    """
    return ", ".join(str(i) for i, m in enumerate(marks, 1) if m == mark)


def _below(layer: str, store: int, names: list[str]) -> bool:
    """Whether a layer's output is part of what a store holds."""
    below = ["embeddings", *(f"layer {i}" for i in range(store))]
    if store == num_layers(names):
        below.append("post")
    return layer in below


def _names(members: list[str]) -> str:
    if len(members) == 1:
        return members[0]
    return f"layer {members[0].split()[1]} to {members[-1].split()[1]}"


def _rates(rates: list[list[str]]) -> str:
    """Rates of some layers by stage, as a range if they differ."""
    ends = zip(rates[0], rates[-1], strict=True)
    return " → ".join(low if low == high else f"{low} to {high}" for low, high in ends) or "-"


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
