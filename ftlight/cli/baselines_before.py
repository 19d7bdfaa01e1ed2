"""``baselines -c X.yaml``: cheap models on the validation rows of a config, before any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftlight.baselines.ladder import Ladder
from ftlight.cli import baseline_runs, baseline_table, parser
from ftlight.cli.command import Words
from ftlight.cli.parser import CLI
from ftlight.evidence import baselines as measuring
from ftlight.evidence import comparing
from ftlight.evidence.baseline_verdict import Beside
from ftlight.evidence.baselines import Frozen, Measured
from ftlight.metrics.seeds import spread
from ftlight.run import console as screen
from ftlight.utils.atomic import atomic_write, write_json, writing
from ftlight.utils.errors import UserError
from ftlight.utils.format import counted, table

SPLIT = "validation"


def run(words: Words, cli: CLI) -> None:
    """Measures cheap models, prints them, and writes their figures and the scores of all rows.

    Raises:
        UserError: there are no cheap models, or no validation rows.
    """
    task, data = cli.model, cli.datamodule
    set_up(cli)
    ladder = task.ladder(data)
    if isinstance(ladder, str):
        raise UserError(ladder)
    if not data.has(SPLIT):
        raise UserError(
            "baselines -c measures on validation rows, and there are none; give data.validation"
        )
    rows = len(data.load_split("train"))
    sizes = sorted({min(size or rows, rows) for size in baseline_runs.sizes(words)})
    frozen = passes(words, cli, ladder, SPLIT, set_up)
    found = measuring.measure_all(ladder, data, SPLIT, sizes, frozen)
    if ladder.untuned:
        found.append(measuring.untuned(cli.trainer, task, data, SPLIT))
    best = max(found, key=lambda model: float(model.scores.mean()))
    score = ladder.score or comparing.metric_of(best.scores, best.values)
    beside = [Beside(model, spread(model.scores[None]), None, None, True) for model in found]
    if (out := words.own.get("out")) is not None:
        figures = baseline_table.as_json(beside, SPLIT, score, ladder.metric, frozen, None, [])
        write(Path(out), figures, found)
    screen.console.print(f"{score} of {counted(len(best.scores), 'row')} of {SPLIT}")
    screen.console.print(table(baseline_table.lines(beside, ladder.metric, frozen, None)))
    for line in filter(None, [*ladder.notes, baseline_table.ways(beside, frozen)]):
        screen.console.print(line)


def passes(
    words: Words, cli: CLI, ladder: Ladder, split: str, prepare: Callable[[CLI], None]
) -> list[Frozen]:
    """The vectors of each backbone that is asked for; none if no model takes them.

    Args:
        words: the command line.
        cli: trainer, model and data of the run or config itself.
        ladder: the cheap models.
        split: the split that is measured.
        prepare: reads the rows for another backbone.
    """
    if not any(rung.takes == "vectors" for rung in ladder.rungs):
        return []
    found = []
    for backbone in baseline_runs.backbones(words, ""):
        made = parser.with_backbone(words, backbone) if backbone else cli
        if backbone:
            prepare(made)
        found.append(measuring.read(made.trainer, made.model, made.datamodule, ladder, split))
    return found


def set_up(cli: CLI) -> None:
    """Reads the rows as a training would."""
    cli.model.datamodule = cli.datamodule
    cli.datamodule.setup("fit")
    cli.model.setup("fit")


def write(out: Path, figures: dict[str, Any], models: Sequence[Measured]) -> None:
    """Writes figures, and the scores of each model's rows beside them as F.npy."""
    with writing(out):  # figures come last: with them all is there
        with atomic_write(out.with_suffix(".npy")) as file:
            np.save(file, np.stack([model.scores for model in models]))
        write_json(out, figures)
