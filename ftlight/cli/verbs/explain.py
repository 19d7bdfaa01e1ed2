"""``explain``: why a model answers as it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftlight.cli import explaining, prediction, text_rows
from ftlight.cli.command import Words
from ftlight.cli.parser import CLI
from ftlight.data import files, findings
from ftlight.data.files import Row
from ftlight.data.module import DataModule
from ftlight.evidence.likeness import most_like
from ftlight.explain import across, rows, shown
from ftlight.explain.explanation import Explained, Neighbour, plain
from ftlight.report import page
from ftlight.run import console as screen
from ftlight.run import outcomes, outputs
from ftlight.run.folder import short
from ftlight.trainer.predictor import Predictor
from ftlight.utils.atomic import write_json, writing
from ftlight.utils.errors import UserError
from ftlight.utils.format import counted

SPLIT = "validation"
FINDINGS = "findings.jsonl"


def run(words: Words, cli: CLI) -> None:
    """Explains the rows of a file, a text, or validation rows, and says what decides across these.

    Raises:
        UserError: the task cannot explain, or there is nothing to explain.
    """
    out, most = explaining.out(words), int(words.own.get("rows", 50))
    if out is not None and out.suffix.lower() == ".html":
        page.check(out)
    task, data = cli.model, cli.datamodule
    task.load_weights(words.own["ckpt_path"])
    task.to(cli.trainer.strategy.root_device)
    predictor = Predictor(task, data, cli.trainer.precision_plugin, words.run)
    is_given = bool(words.alone) or "text" in words.own
    place, right = prediction.source(words) if is_given else SPLIT, list[bool]()
    if is_given:
        given = (predictor.read(place) if place else text_rows.of(words.own["text"], data))[:most]
    else:
        given, right = validation_rows(words, data, most)
    explained = rows.explain(predictor, given, place or "input", explaining.method(words))
    if count := int(words.own.get("neighbours", 0)):
        explained = _with_neighbours(cli, explained, place or "input", count)
    if is_given:
        for row in explained:
            _print(row)
    else:
        _say_across(words, explained, [right[row.number] for row in explained])
    if out is not None:
        write(out, explained, f"Why {short(Path(str(words.run)))} answers so")
        screen.console.print(f"{counted(len(explained), 'explained row')} in {short(out)}")


def validation_rows(words: Words, data: DataModule, most: int) -> tuple[list[Row], list[bool]]:
    """Validation rows to explain, and whether the run's answer to each is right.

    Raises:
        UserError: the run has none.
    """
    data.check, data.on_leak = "off", "keep"  # what leaked is known of the run
    if not data.has(SPLIT):
        raise UserError("the run has no validation rows; give a file or --text to explain")
    table = data.load_split(SPLIT)
    kept = outcomes.read(Path(str(words.run)) / f"outcomes-{SPLIT}.npz")
    right = [True] * len(table)
    if kept is not None and kept.scores.min() >= 0 and kept.scores.max() <= 1:
        for number, score in zip(kept.rows.tolist(), kept.scores.tolist(), strict=True):
            right[number] = score >= 1
    labels = ["|".join(row) for row in data.row_labels(table) or [[""]] * len(table)]
    chosen = across.choose(right, labels, most)
    return data.rows_to_predict(SPLIT, chosen), [right[number] for number in chosen]


def _with_neighbours(
    cli: CLI, explained: Sequence[Explained], place: str, count: int
) -> list[Explained]:
    """Explained rows with the rows of train that are most like each."""
    data = cli.datamodule
    data.check, data.on_leak = "off", "keep"
    data.setup("fit")
    given = [dict(row.row) for row in explained]
    like = most_like(cli.trainer, cli.model, data, given, place, count)
    table, places = data.load_split("train"), data.places("train")
    texts, labels = data.row_texts(table), data.row_labels(table)
    found = []
    for row, of_row in zip(explained, like, strict=True):
        near = []
        for number, likeness in of_row:
            where = str(places[number])
            text = " | ".join(part[number] for part in texts) if texts else where
            label = ", ".join(labels[number]) if labels else ""
            near.append(Neighbour(text, label, likeness, files.places([places[number]], 1)))
        why = [part._replace(neighbours=near if i == 0 else ()) for i, part in enumerate(row.why)]
        found.append(row._replace(why=why))
    return found


def _print(row: Explained) -> None:
    """Prints what explains the answer to a row."""
    console = screen.console
    in_colour = console.color_system is not None and not console.no_color
    if not row.why:
        console.print("nothing found, so there is nothing to explain")
    for why in row.why:
        for line in shown.lines(why, in_colour):
            console.print(line)


def _say_across(words: Words, explained: Sequence[Explained], right: Sequence[bool]) -> None:
    """Says what decides across rows, and adds it to the run's findings."""
    assert words.run is not None
    console, found = screen.console, across.deciders(explained, right)
    errors = counted(len(right) - sum(right), "error")
    console.print(f"{counted(len(explained), 'row')} of {SPLIT} explained, {errors} among them")
    checks = [why.check for row in explained for why in row.why if why.check is not None]
    if checks:
        held = sum(check.holds for check in checks)
        fall, chance = np.array([[check.fall, check.by_chance] for check in checks]).mean(0)
        unit = next(why.unit for row in explained for why in row.why)
        console.print(f"check: {shown.average(held, len(checks), fall, chance, unit)}")
    for title, wrong in (("decides", False), ("decides wrongly", True)):
        rows = [(label, ", ".join(of_label)) for label, of_label in across.by_label(found, wrong)]
        if rows:
            screen.grid([title, "words, and how many of the rows"], rows, wraps="words")
    new = across.findings(found, SPLIT)
    for finding in new:
        console.print(finding.line)
    path = outputs.home(words.run) / FINDINGS
    kept = [old for old in findings.read(path) if old.kind != across.KIND]
    with writing(path):
        findings.write(path, [*kept, *new])


def write(path: Path, explained: Sequence[Explained], title: str) -> None:
    """Writes explanations as JSON, or as a page with a title."""
    if path.suffix.lower() == ".html":
        page.write(path, page.of_explanations(explained, title))
        return
    with writing(path):
        write_json(path, [as_json(row) for row in explained])


def as_json(row: Explained) -> dict[str, Any]:
    """A row with what explains it, for a file."""
    given = {name: value for name, value in row.row.items() if not name.startswith("__")}
    found: dict[str, Any] = {"row": row.number, **given}
    found["prediction"] = row.answer["prediction"]
    found["why"] = [plain(why) for why in row.why]
    return found
