"""The folder of an export, with its model card."""

from __future__ import annotations

import ast
import contextlib
import filecmp
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ftlight.metrics.sureness import Calibration
from ftlight.models.padding import runs_unpadded
from ftlight.run import outputs
from ftlight.task import Task
from ftlight.trainer import card
from ftlight.trainer.exported import Exported
from ftlight.utils.atomic import atomic_write, writing
from ftlight.utils.atomic_folder import atomic_folder
from ftlight.utils.errors import UserError

CARD = "README.md"
THEN = "nothing of it is left; make room, or give another with --out DIR"

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


def check(folder: Path, way: str = " with --out DIR", again: bool = False) -> None:
    """Refuses a folder that an export could not take, before the work.

    Args:
        folder: the folder to make.
        way: how another one is given.
        again: whether it may hold the same export.

    Raises:
        UserError: it is there already and not empty, or cannot be made.
    """
    if folder.exists() and (not folder.is_dir() or (_is_full(folder) and not again)):
        raise UserError(f"{folder} is there already and not empty; give another{way}")
    if not outputs.is_writable(folder.absolute().parent):
        raise outputs.closed(folder)


def write(what: Exported, folder: Path, repo: str = "") -> None:
    """Writes a task's model and its model card: the whole folder, or nothing of it.

    Args:
        what: what is exported.
        folder: folder to make; it may be there if it is empty, and of a repo with the same export.
        repo: repo of the Hub that it is for, OWNER/NAME; empty for none.

    Raises:
        WriteError: the disk is full, or the folder cannot be written.
        UserError: the folder holds something else.
    """
    task, facts = what.task, what.facts()
    with writing(folder, THEN):
        with _making(folder) as part:
            what.data.check_model(task.cpu().eval().model)
            calibration = task.calibration
            how = task.export(part, what.data)
            library = next(iter(re.findall(r"^(?:from|import) (\w+)", how, re.M)), "transformers")
            if runs_unpadded(task.model):
                name = type(task.model).__name__
                how = f"# one row at a time: {name} does not ignore padding\n{how}"
            about = library.replace("_", "-"), what.weights
            heat = _heat(task, calibration)
            cards: dict[str, str] = {}
            for name in ("", repo):
                lines = f"{given(how, folder.name, name)}\n{how}"
                cards[name] = card.text(facts, lines, *about, heat, name)
            (part / CARD).write_text(cards[repo], encoding="utf-8")
        if repo:
            _name_repo(folder / CARD, cards[""], cards[repo])


def _name_repo(path: Path, before: str, after: str) -> None:
    """Puts the card for a repo in place of that of an export for none, unless that was edited."""
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace") == before:
        with atomic_write(path) as file:
            file.write(after.encode())


@contextlib.contextmanager
def _making(folder: Path) -> Iterator[Path]:
    """A folder to write an export into: in place of an empty one, or to compare with a full one.

    Raises:
        UserError: the full one holds something else.
    """
    if not _is_full(folder):
        with atomic_folder(folder) as part:
            yield part
        return
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as again:
        yield Path(again)
        _compare(Path(again), folder)


def _is_full(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _compare(new: Path, folder: Path) -> None:
    """Refuses a folder that does not hold the same export; its card may have been edited.

    Raises:
        UserError: a file of the export is another one there, or not there.
    """
    for file in sorted(path for path in new.rglob("*") if path.is_file()):
        name = file.relative_to(new)
        there = folder / name
        if name != Path(CARD) and not (there.is_file() and filecmp.cmp(file, there, False)):
            raise UserError(
                f"{folder} is there already and holds another export ({name} differs);"
                " remove it, or give another with --out DIR"
            )


def given(how: str, folder: str, repo: str = "") -> str:
    r"""The lines that give an example of what those of a card use, so that they run as they are.

    Args:
        how: the lines.
        folder: name of the exported folder.
        repo: repo of the Hub that has the folder, OWNER/NAME; empty for none.

    >>> print(given("model = load(FOLDER)\nmodel(texts)", "out"))
    FOLDER = 'out'  # this folder
    texts = ["a text", "another text"]
    """
    names = [node for node in ast.walk(ast.parse(how)) if isinstance(node, ast.Name)]
    made = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    used = {name.id for name in names} - made
    lines = [f"{name} = {EXAMPLES[name]}" for name in EXAMPLES if name in used]
    text = "\n".join(lines).replace("{folder!r}", repr(folder))
    if not repo:
        return text
    fetched = text.replace(f"{folder!r}  # this folder", f"snapshot_download({repo!r})", 1)
    return f"from huggingface_hub import snapshot_download\n\n{fetched}"


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
