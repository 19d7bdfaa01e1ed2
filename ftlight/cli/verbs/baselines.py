"""``baselines``: cheap models beside a run, on its own rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ftlight.baselines.ladder import Ladder
from ftlight.cli import baseline_runs, baseline_table, baselines_before
from ftlight.cli.command import Words
from ftlight.cli.parser import CLI
from ftlight.evidence import baseline_verdict, comparing, measured_run
from ftlight.evidence import baselines as measuring
from ftlight.evidence.baseline_verdict import Beside
from ftlight.evidence.baselines import Growth, Measured
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
    if words.run is None:
        baselines_before.run(words, cli)
        return
    home = outputs.home(words.run)
    out = Path(words.own.get("out", home / NAME))
    outputs.check(out)
    set_up(cli)
    task, data = cli.model, cli.datamodule
    ladder = task.ladder(data)
    if isinstance(ladder, str):
        raise UserError(ladder)
    split = measured_run.split_of(words.run, home, data)
    own = measured_run.read(words.run, home, ladder, data, split)
    rows = len(data.load_split("train"))
    sizes = sorted({min(size or rows, rows) for size in baseline_runs.sizes(words)})
    frozen = baselines_before.passes(words, cli, ladder, split, set_up)
    cheap = measuring.measure_all(ladder, data, split, sizes, frozen)
    growth = measuring.grow(ladder, data, split, frozen[0], best(own)) if frozen else None
    if ladder.untuned:
        cheap.append(measuring.untuned(cli.trainer, task, data, split))
    cheap += trainings(words, home, ladder, cli, split, sizes, ladder.fits)
    afresh = {baseline_runs.SCRATCH: baseline_runs.AFRESH}
    asked = afresh if words.own.get("scratch") == "true" else {}
    trained = trainings(words, home, ladder, cli, split, sizes, asked)
    found = baseline_verdict.compare(own, cheap, trained)
    said = verdicts(found, rows, growth, best(own) == 1)
    score = ladder.score or comparing.metric_of(own.scores, own.values)
    figures = baseline_table.as_json(found, split, score, ladder.metric, frozen, growth, said)
    with writing(out):
        write_json(out, figures)
    screen.console.print(f"{score} of {counted(len(own.scores), 'row')} of {split}")
    screen.console.print(table(baseline_table.lines(found, ladder.metric, frozen, growth)))
    for line in filter(None, [*ladder.notes, baseline_table.ways(found, frozen), *said]):
        screen.console.print(line)


def verdicts(
    found: Sequence[Beside], rows: int, growth: Growth | None, is_share: bool
) -> list[str]:
    """What the figures say: whether the run paid, and what more rows would give."""
    said = [
        baseline_verdict.verdict(found, rows),
        baseline_verdict.from_scratch(found, baseline_runs.SCRATCH),
    ]
    if growth is not None and growth.forecast is not None:
        said.append(learning_curve.sentence(growth.forecast, is_share))
    return said


def set_up(cli: CLI) -> None:
    """Reads the rows as the run did: what leaked is known of it, and taken out."""
    task, data = cli.model, cli.datamodule
    data.check, data.on_leak = "off", "keep"
    task.datamodule = data
    data.setup("fit")
    task.setup("fit")


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
            path = baseline_runs.train(
                words.run, home / "baselines", name, options, drawn, data.labels
            )
            found.append(measured_run.read(path, path, ladder, data, split, name, size))
    return found


def best(run: Measured) -> float:
    """The best score that a row can have: 1 of a share, else 0, since others are losses."""
    return 1.0 if run.scores.min() >= 0 and run.scores.max() <= 1 else 0.0
