"""``init``: a short YAML from a data file, or a copy of a shipped example."""

from __future__ import annotations

import shutil
from pathlib import Path

from ftlight.cli import draft, guess
from ftlight.cli.command import Words
from ftlight.utils.errors import UserError, did_you_mean, join_limited


def run(words: Words) -> str:
    """Writes a YAML for the file, or copies the example. Returns what to print.

    Raises:
        UserError: there is no such file, example, column or task.
    """
    names = join_limited(examples(), 30)
    if len(words.alone) != 1:
        raise UserError(f"init needs one data file, or one of the examples {names}")
    name = words.alone[0]
    if Path(name).exists():
        return from_data(name, words.own.get("label"), words.own.get("task"))
    if name in examples():
        return copy_example(name)
    if "." not in name:
        nearest = did_you_mean(name, examples())
        raise UserError(f"{name}: neither a file nor an example{nearest} (examples: {names})")
    return from_data(name, words.own.get("label"), words.own.get("task"))


def examples() -> dict[str, Path]:
    """Shipped configs by name: in the package when installed, beside it in a checkout."""
    package = Path(__file__).parents[2]
    home = next(p for p in (package / "configs", package.parent / "configs") if p.is_dir())
    return {p.stem: p for p in sorted(home.glob("*.yaml"))}


def copy_example(name: str) -> str:
    """Copies an example, its data and its task to the working folder. Returns what to print.

    Raises:
        UserError: one of the files exists.
    """
    source = examples()[name]
    text = source.read_text(encoding="utf-8")
    folders = [p for p in source.parent.iterdir() if p.is_dir() and f"{p.name}/" in text]
    modules = [p for p in source.parent.glob("*.py") if f" {p.stem}." in text]
    for item in (source, *folders, *modules):
        if Path(item.name).exists():
            raise UserError(
                f"{item.name} exists; nothing is overwritten. Run init in another folder"
            )
    for file in (source, *modules):
        shutil.copy(file, file.name)
    for folder in folders:
        shutil.copytree(folder, folder.name)
    copied = ", ".join([source.name, *(f.name for f in modules), *(f"{f.name}/" for f in folders)])
    data = "" if folders else "; its data are not shipped: put your own files into it"
    return f"copied {copied}{data}\nnext: python -m ftlight fit -c {source.name}\n"


def from_data(name: str, label: str | None, task: str | None) -> str:
    """A commented YAML for a data file, with what was told of it and why.

    Args:
        name: The file or folder.
        label: Column of the label; found if None.
        task: Name of the task; found if None.

    Raises:
        UserError: the file does not read, or the task cannot be told.
    """
    return draft.draft(guess.guess(name, label, task))
