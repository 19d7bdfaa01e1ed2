"""The folder and the model card of an export."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftlight.data.module import DataModule
from ftlight.metrics.sureness import Calibration
from ftlight.models.padding import runs_unpadded
from ftlight.run import outputs, records
from ftlight.run.state import RunState
from ftlight.task import Task
from ftlight.utils.atomic import read_json, writing
from ftlight.utils.atomic_folder import atomic_folder
from ftlight.utils.errors import UserError

# What the lines of a card are given, as an example of each.
EXAMPLES = {
    "FOLDER": "{folder!r}  # this folder",
    "texts": '["a text", "another text"]',
    "pairs": '[("a text", "its second text")]',
    "text": '"a text"',
    "images": '["a.jpg", "b.jpg"]',
    "paths": '["a.jpg", "b.jpg"]',
    "question": '"Who wrote it?"',
    "context": '"It was written by Ada."',
    "texts_of_the_last_items": '["the item before", "the last item"]',
}


def check(folder: Path, way: str = " with --out DIR") -> None:
    """Refuses a folder that an export could not take, before the work.

    Args:
        folder: the folder to make.
        way: how another one is given.

    Raises:
        UserError: it is there already and not empty, or cannot be made.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already and not empty; give another{way}")
    if not outputs.is_writable(folder.absolute().parent):
        raise outputs.closed(folder)


def write(run: RunState, task: Task, data: DataModule, folder: Path, mixed: bool) -> None:
    """Writes a task's model and its model card: the whole folder, or nothing of it.

    Args:
        run: state of the run that trained it.
        task: the task, with the weights to export.
        data: its data module.
        folder: folder to make; it may be there if it is empty.
        mixed: whether the weights were mixed with the pre-trained ones.

    Raises:
        WriteError: the disk is full, or the folder cannot be written.
    """
    then = "nothing of it is left; make room, or give another with --out DIR"
    with writing(folder, then), atomic_folder(folder) as part:
        _write(run, task, data, part, mixed, folder.name)


def _write(
    run: RunState, task: Task, data: DataModule, folder: Path, mixed: bool, name: str
) -> None:
    data.check_model(task.cpu().eval().model)
    calibration = task.calibration
    how = task.export(folder, data)
    if runs_unpadded(task.model):
        how = f"# one row at a time: {type(task.model).__name__} does not ignore padding\n{how}"
    how = f"{given(how, name)}\n{how}"
    facts = read_json(run.home / "run.json")
    measured, heat = scores_of(run, mixed), _heat(task, calibration)
    text = card(facts, task, how, measured, run.wise.get("share"), heat)
    (folder / "README.md").write_text(text, encoding="utf-8")


def scores_of(run: RunState, mixed: bool) -> Mapping[str, Any]:
    """What the test of the weights to export found; empty if they were not tested.

    Args:
        run: state of the run.
        mixed: whether the weights were mixed with the pre-trained ones.
    """
    file = run.home / f"test{'-wise' if mixed else ''}_metrics.json"
    found = records.of(file, {"wise": dict})
    if mixed and found.get("wise", {}).get("share") != run.wise["share"]:
        return {}  # of another mix
    return found


def given(how: str, folder: str) -> str:
    r"""The lines that give an example of what those of a card use, so that they run as they are.

    Args:
        how: the lines.
        folder: name of the exported folder.

    >>> print(given("model = load(FOLDER)\nmodel(texts)", "out"))
    FOLDER = 'out'  # this folder
    texts = ["a text", "another text"]
    """
    names = [node for node in ast.walk(ast.parse(how)) if isinstance(node, ast.Name)]
    made = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    used = {name.id for name in names} - made
    lines = [f"{name} = {EXAMPLES[name]}" for name in EXAMPLES if name in used]
    return "\n".join(lines).replace("{folder!r}", repr(folder))


def _heat(task: Task, calibration: Calibration | None) -> str:
    """What became of the temperature of the weights, as a sentence.

    Args:
        task: the task as exported.
        calibration: its calibration before.
    """
    if calibration is None or calibration.heat == 1.0:
        return ""
    assert task.calibration is not None
    temperature = f"temperature {calibration.heat:.4g}"
    if task.calibration.heat == 1.0:
        rows = f"fitted on {calibration.rows:,} validation rows"
        return (
            f" Scores are calibrated: a {temperature}, {rows}, is in the weights of the last layer."
        )
    return f" The lines below calibrate scores ({temperature}); the weights alone do not."


def card(
    run: Mapping[str, Any],
    task: Task,
    how: str,
    scores: Mapping[str, Any],
    share: float | None = None,
    heat: str = "",
) -> str:
    """A model card: what the model is, how it was made, measured and is loaded.

    Args:
        run: what run.json holds.
        task: the task.
        how: lines of Python that load the folder.
        scores: what test_metrics.json holds; empty if there was no test.
        share: share of the fine-tuned weights if they were mixed with the pre-trained ones.
        heat: a sentence on its temperature; empty if it has none.
    """
    imports = re.findall(r"^(?:from|import) (\w+)", how, re.M)
    library = next(iter(imports), "transformers").replace("_", "-")
    version, labels = run.get("versions", {}).get("ftlight", ""), ", ".join(task.labels)
    made = f"Fine-tuned with ftlight {version}, seed {run.get('seed')}"
    made += f"; labels: {labels}." if labels else "."
    if share is not None:
        made += (
            f" The backbone's weights are {share:g} fine-tuned and {1 - share:g} pre-trained"
            " (WiSE-FT); scores of a mix are not calibrated."
        )
    made += heat
    return (
        f"---\nlibrary_name: {library}\nbase_model: {run.get('backbone')}\n---\n"
        f"# {type(task).__name__} on {run.get('backbone')}\n\n"
        f"{made}\n\n```python\n{how}\n```\n\n{_measured(scores)}"
    )


def _measured(scores: Mapping[str, Any]) -> str:
    """The scores of a test as a table."""
    metrics = {name: v for name, v in scores.items() if isinstance(v, float | str | None)}
    if not metrics:
        return "Not tested.\n"
    rows = []
    for name, v in metrics.items():
        value = f"{v:.4f}" if isinstance(v, float) else v or "n/a"
        rows.append(f"| {name} | {value} |")
    header = f"Measured on the test data ({scores.get('test/rows')} rows):"
    return f"{header}\n\n| metric | value |\n|---|---|\n" + "\n".join(rows) + "\n"
