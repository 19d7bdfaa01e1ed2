"""``predict``: predicts the rows of a file, lines of standard input or one text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftlight.cli import prediction, text_rows
from ftlight.cli.command import Words
from ftlight.cli.parser import CLI
from ftlight.data import files
from ftlight.data.module import DataModule
from ftlight.evidence import familiar
from ftlight.run import console as screen
from ftlight.run import outputs, workbook
from ftlight.run.folder import short
from ftlight.run.predictions import COMMAS, are_in, write_left_out, write_predictions
from ftlight.trainer import calibrating, unsure
from ftlight.trainer.predictor import Answers, Predicted, Predictor
from ftlight.utils.distributed import gather_objects
from ftlight.utils.errors import UserError
from ftlight.utils.format import counted, number


def run(words: Words, cli: CLI) -> None:
    """Predicts, and writes the answers to a file or prints them."""
    file, ckpt_path = prediction.source(words), words.own["ckpt_path"]
    path = _path(words, cli.datamodule, file)
    at_least, coverage = (prediction.share(words, name) for name in ("at_least", "coverage"))
    model = Predictor(
        cli.model, cli.datamodule, run=words.run, compute=lambda: _compute(cli, ckpt_path)
    )
    cli.model.calibration = calibrating.of_checkpoint(Path(ckpt_path))  # weights are read later
    text = words.own.get("text")
    rows = model.read(file) if file else text_rows.of(text, cli.datamodule)
    seen = _familiar(words, cli)
    found = model.answer(rows, file or "input", at_least, coverage, "--")
    unlike = _unlike(cli, seen)
    if not cli.trainer.is_global_zero:
        return
    with_all = words.own.get("probabilities") == "true"
    if path is None or len(rows) == 1:
        for row, answer in zip(found.rows, found.answers, strict=True):
            _print(row, answer, with_all)
    if path is None:
        for fault in found.faults.values():
            screen.console.print(f"left out: {fault}")
        if found.note and len(found.rows) > 1:
            screen.console.print(found.note)
        return
    if "out" not in words.own:
        outputs.claim(path.parent, path.name, file)
    own = cli.model.predictions_text(path.suffix.lower(), found.rows, found.answers)
    dialect = cli.datamodule.source_at(file).dialect() if file else COMMAS
    dialect = dialect._replace(safe=words.own.get("safe_csv") == "true")
    write_predictions(path, found.rows, found.answers, with_all, own, dialect)
    screen.console.print(_written(path, found))
    listed = write_left_out(path, found.faults.values())
    if listed is not None:
        skipped = cli.datamodule.left_out(found.faults, len(rows))
        screen.console.print(f"{skipped}; left out, and listed in {short(listed)}")
    for line in filter(None, (found.note, unlike)):
        screen.console.print(line)


def _written(path: Path, found: Predicted) -> str:
    """What was written, and how much of it is unsure."""
    said = f"{counted(len(found.rows), 'prediction')} in {short(path)}"
    if found.promise.threshold is not None:
        items = unsure.items(found.answers)
        kind = " spans" if any(isinstance(a["prediction"], list) for a in found.answers) else ""
        said += f"; {sum(item['unsure'] for item in items):,} of {len(items):,}{kind} unsure"
    return said


def _familiar(words: Words, cli: CLI) -> familiar.Familiar | None:
    """What looks at the rows while they are predicted, if the run kept what it takes."""
    kept = Path(str(words.run)) / familiar.NAME
    if not kept.is_file():
        return None
    seen = familiar.Familiar(kept)
    cli.trainer.callbacks.append(seen)  # type: ignore[attr-defined]
    return seen


def _unlike(cli: CLI, seen: familiar.Familiar | None) -> str:
    """What a prediction ends with, by the rows of all processes."""
    if seen is None:
        return ""
    counts = gather_objects((seen.rows, seen.strange), cli.trainer.world_size)
    return familiar.line(sum(rows for rows, _ in counts), sum(odd for _, odd in counts))


def _path(words: Words, data: DataModule, file: str) -> Path | None:
    """The file to write; None if predictions are to be printed: of texts, or of one photo.

    Raises:
        UserError: it could not be written, or holds what is read, or no predictions.
    """
    path = prediction.out(words)
    if path is not None:
        outputs.keep_apart(path, [file, *data.files.values()])
        if path.is_file() and not are_in(path):
            raise UserError(
                f"--out {path} is there, and nothing in it says that it is predictions;"
                " remove it, or give another file"
            )
    elif not file or data.is_row(file):
        return None
    else:
        folder = outputs.home(Path(str(words.run))) / "predictions"
        path = folder / outputs.free(folder, _name(file), file)
    outputs.check(path)
    return path


def _name(file: str) -> str:
    """Name of the file of predictions: the input's, with the suffix of JSON lines if that is JSON.

    Of a spreadsheet it is one, too, if it can be written; of anything else CSV.
    """
    path = Path(file).resolve()
    if path.is_dir():
        return f"{path.name}.csv"
    name = Path(path.name.removesuffix(".gz"))
    kinds = {".json": ".jsonl", ".jsonl": ".jsonl"}
    if workbook.is_possible():
        kinds[".xlsx"] = ".xlsx"
    return str(name.with_suffix(kinds.get(name.suffix.lower(), ".csv")))


def _compute(cli: CLI, ckpt_path: str) -> Answers:
    """The answers of all processes by the number of the row."""
    own = cli.trainer.predict(
        cli.model, datamodule=cli.datamodule, ckpt_path=ckpt_path, weights_only=True
    )
    answers: Answers = {}
    for batches in gather_objects(own or [], cli.trainer.world_size):
        for batch in batches:
            answers.update(batch)
    return answers


def _print(row: files.Row, answer: Mapping[str, Any], with_all: bool) -> None:
    """Prints a prediction with its three best probabilities, or all, and what else it holds."""
    given = next(str(v) for k, v in row.items() if not k.startswith("__"))
    lines = [given if given.strip() else "(no text)"]
    prediction = answer["prediction"]
    if isinstance(prediction, list):
        lines += [_line(item) for item in prediction] or ["nothing found"]
    else:
        best = sorted(answer.get("probabilities", {}).items(), key=lambda item: -item[1])
        shown = [f"{label} {share:.2f}" for label, share in (best if with_all else best[:3])]
        lead = "unsure" if answer.get("unsure") else prediction
        lines.append(f"{lead}  ({', '.join(shown) or number(answer['score'])})")
    if "low" in answer:
        lines.append(f"{number(answer['low'])} to {number(answer['high'])}")
    if "set" in answer:
        lines.append(f"one of: {', '.join(answer['set'])}")
    screen.console.print("\n  ".join(lines))
    for key, value in answer.items():
        if key not in ("prediction", "score", "probabilities", "set") and isinstance(value, list):
            screen.console.print("\n".join(f"    {_line(item)}" for item in value))


def _line(item: Any) -> str:
    """An item of a list in words: its values."""
    cells = [item]
    if isinstance(item, dict):
        cells = [value for key, value in item.items() if key != "unsure"]
        cells += ["unsure"] if item.get("unsure") else []
    return "  ".join(number(v) if isinstance(v, float) else str(v) for v in cells)
