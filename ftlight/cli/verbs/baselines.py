"""``baselines``: cheap models beside a run, on its own rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ftlight.baselines.ladder import Ladder
from ftlight.cli import beside, beside_table, parser
from ftlight.cli.command import Words
from ftlight.cli.parser import CLI
from ftlight.evidence import as_measured, climbing, comparing, paying
from ftlight.evidence.climbing import Frozen, Measured
from ftlight.metrics import learning_curve
from ftlight.run import console as screen
from ftlight.run import outputs
from ftlight.utils.atomic import write_json, writing
from ftlight.utils.errors import UserError
from ftlight.utils.format import counted, table

NAME = "baselines.json"


def run(words: Words, cli: CLI) -> None:
    """Measures cheap models, prints them beside the run, and writes all figures.

    Raises:
        UserError: the run was not measured on these rows, or there are no cheap models.
    """
    assert words.run is not None
    home = outputs.home(words.run)
    outputs.check(home / NAME)
    set_up(cli)
    task, data = cli.model, cli.datamodule
    ladder = task.ladder(data)
    if isinstance(ladder, str):
        raise UserError(ladder)
    split = as_measured.split_of(words.run, home, data)
    own = as_measured.read(words.run, home, ladder, data, split)
    rows = len(data.load_split("train"))
    sizes = sorted({min(size or rows, rows) for size in beside.sizes(words)})
    frozen = passes(words, cli, ladder, split)
    cheap = climbing.climb(ladder, data, split, sizes, frozen)
    growth = climbing.grow(ladder, data, split, frozen[0], best(own)) if frozen else None
    if ladder.untuned:
        cheap.append(climbing.untuned(cli.trainer, task, data, split))
    cheap += trainings(words, home, ladder, cli, split, sizes, ladder.fits)
    scratch = {beside.SCRATCH: beside.AFRESH} if words.own.get("scratch") == "true" else {}
    trained = trainings(words, home, ladder, cli, split, sizes, scratch)
    found = paying.beside(own, cheap, trained)
    said = [paying.verdict(found, rows), paying.from_scratch(found, beside.SCRATCH)]
    if growth is not None and growth.forecast is not None:
        said.append(learning_curve.sentence(growth.forecast, best(own) == 1))
    score = ladder.score or comparing.metric_of(own.scores, own.values)
    figures = beside_table.as_json(found, split, score, ladder.metric, frozen, growth, said)
    with writing(home / NAME):
        write_json(home / NAME, figures)
    screen.console.print(f"{score} of {counted(len(own.scores), 'row')} of {split}")
    screen.console.print(table(beside_table.lines(found, ladder.metric, frozen, growth)))
    for line in filter(None, [*ladder.notes, beside_table.ways(found, frozen), *said]):
        screen.console.print(line)


def set_up(cli: CLI) -> None:
    """Reads the rows as the run did: what leaked is known of it, and taken out."""
    task, data = cli.model, cli.datamodule
    data.check, data.on_leak = "off", "keep"
    task.datamodule = data
    data.setup("fit")
    task.setup("fit")


def passes(words: Words, cli: CLI, ladder: Ladder, split: str) -> list[Frozen]:
    """The vectors of each backbone that is asked for; none if no model takes them."""
    if not any(rung.takes == "vectors" for rung in ladder.rungs):
        return []
    found = []
    for backbone in beside.backbones(words) or [""]:
        made = parser.with_backbone(words, backbone) if backbone else cli
        if backbone:
            set_up(made)
        found.append(climbing.read(made.trainer, made.model, made.datamodule, ladder, split))
    return found


def trainings(
    words: Words,
    home: Path,
    ladder: Ladder,
    cli: CLI,
    split: str,
    sizes: Sequence[int],
    asked: Mapping[str, Sequence[str]],
) -> list[Measured]:
    """Trainings beside the run on each number of rows: names, and the options that they change."""
    assert words.run is not None
    data, found = cli.datamodule, list[Measured]()
    rows = len(data.load_split("train"))
    for name, options in asked.items():
        for size in sizes:
            drawn = size if size < rows else None
            screen.console.print(f"{name}: trains on {size:,} rows")
            path = beside.train(words.run, home / "baselines", name, options, drawn, data.labels)
            found.append(as_measured.read(path, path, ladder, data, split, name, size))
    return found


def best(run: Measured) -> float:
    """The best score that a row can have: 1 of a share, else 0, since others are losses."""
    return 1.0 if run.scores.min() >= 0 and run.scores.max() <= 1 else 0.0
