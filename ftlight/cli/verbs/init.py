"""``init``: a short YAML from a data file, or a copy of a shipped example."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import yaml

from ftlight.cli import classes, guess
from ftlight.cli.command import Words
from ftlight.data import files, label_forms, label_kinds, labels, numerals, spelling
from ftlight.data.label_columns import label_text
from ftlight.utils.errors import UserError, did_you_mean, join_limited, unknown
from ftlight.utils.yaml_file import Loader

BACKBONE = guess.SENTENCE_ENCODER
SAMPLE = 2000  # rows that are looked at
HELD_OUT = "  # validation: FILE              # without it a tenth of train is held out"


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
    """A commented YAML for a data file, with what was inferred and why.

    Args:
        name: The file or folder.
        label: Column of the label; found if None.
        task: Name of the task; found if None.

    Raises:
        UserError: the file does not read, or the task cannot be told.
    """
    if task is not None and task not in classes.task_names():
        raise UserError(unknown("no task", task, classes.task_names(), "tasks"))
    path = Path(name)
    asked = None
    if task not in (None, "TextClassification"):
        asked = guess.Guess(str(task), {}, "as asked for")
    if task is None and path.exists() and (guessed := guess.by_form(path)):
        return _short(path, guessed)
    if asked and path.exists() and (path.is_dir() or files.suffix(path) not in files.SUFFIXES):
        return _short(path, asked)
    path = files.check(name)
    rows = list(islice(files.read(path), SAMPLE))
    if not rows:
        raise UserError(f"{path} has a header but no rows")
    guessed = None
    if task != "TextClassification" and label is None:
        guessed = guess.by_columns(rows)
    if asked:
        return _short(path, guessed if guessed and guessed.task == task else asked)
    return _short(path, guessed) if guessed else _classification(path, rows, label)


def _short(path: Path, guessed: guess.Guess) -> str:
    """The YAML of a task whose data need no further look."""
    backbone = guess.BACKBONES.get(guessed.task, BACKBONE)
    splits = {"train": str(path), **({} if path.is_dir() else _other_splits(path))}
    lines = [
        f"# from {path}: {guessed.why}",
        f"model: {{task: {guessed.task}, backbone: {backbone}}}"
        "  # any that fits the task, a hub id or a folder",
        "data:",
        *(f"  {split}: {_quoted(file)}" for split, file in splits.items()),
        *(f"  {key}: {value}" for key, value in guessed.options.items()),
    ]
    if "validation" not in splits and "user" not in guessed.options:
        lines.append(HELD_OUT)
    lines.append(f"# all options: python -m ftlight fit --help --model {guessed.task}")
    return "\n".join(lines) + "\n"


def _classification(path: Path, rows: Sequence[files.Row], label: str | None) -> str:
    """The YAML of a text classification."""
    columns = [c for c in rows[0] if c != files.LINE and not _holds_objects(rows, c)]
    if label is not None:
        files.need(rows[0], [label], str(path))
    values = {c: _texts(rows, c, str(path)) for c in columns}
    label = label or _label_column(columns, values, rows)
    texts = [c for c in columns if c != label]
    if not texts:
        names = join_limited(columns)
        raise UserError(f"{path} has no text column beside {label} (columns: {names})")
    text = max(texts, key=lambda c: sum(map(len, values[c])))
    others = [_quoted(c) for c in texts if c != text]
    kind, about, notes = _about_labels([row.get(label) for row in rows], f"{path}: column {label}")
    seen = f"the first {SAMPLE:,}" if len(rows) == SAMPLE else f"{len(rows):,}"
    splits = {"train": str(path), **_other_splits(path)}
    text_line = f"  text: {_quoted(text)}"
    if others:
        pair = f"[{_quoted(text)}, {others[0]}]; or text_pair: {others[0]}"
        text_line += f"  # or several that are joined: {pair}"
    lines = [
        " ".join(f"# from {path}: {seen} rows, {kind} label(s), {about}".split()),
        f"model: {{task: TextClassification, backbone: {BACKBONE}}}  # any hub id or folder",
        "data:",
        *(f"  {split}: {_quoted(file)}" for split, file in splits.items()),
        *([] if "validation" in splits else [HELD_OUT]),
        text_line,
        f"  label: {_quoted(label)}  # {kind}; others: {join_limited(others) or 'none'}",
        *(f"  # {note}" for note in notes),
        "# trainer: {max_epochs: 5}        # default: enough for about 1,000 steps",
    ]
    return "\n".join(lines) + "\n"


def _holds_objects(rows: Sequence[files.Row], column: str) -> bool:
    return any(isinstance(row.get(column), (dict, bytes)) for row in rows)


def _texts(rows: Sequence[files.Row], column: str, place: str) -> list[str]:
    """The cells of a column as text, without those that are lists."""
    cells = [row.get(column) for row in rows]
    return [files.as_text(c, place, 0, column) for c in cells if not isinstance(c, list)]


def _about_labels(cells: Sequence[object], place: str) -> tuple[str, str, list[str]]:
    """Kind of a label column, what is in it in words, and what should be known of it.

    Args:
        cells: Its cells.
        place: File and column, for errors.
    """
    texts = Counter(filter(None, (label_text(cell, place, 0, "label") for cell in cells)))
    for missing in numerals.are_missing(texts):
        del texts[missing]
    kind, form = label_kinds.read(texts, place)
    how = label_forms.describe(form, texts)
    notes = [how] if how else []
    if kind == "regression":
        return kind, "numbers", notes
    counts = Counter[str]()
    for text, rows in texts.items():
        for label in labels.members(form.text(text), kind):
            counts[label] += rows
    alike = spelling.alike(counts)
    if alike:
        notes.append(
            f"{spelling.listed(alike, counts)} differ only in capitals, blanks or Unicode form;"
            " to join them write fold_labels: true"
        )
    if kind == "single":
        notes += label_forms.hints(texts, "label")
    most = join_limited([name for name, _ in counts.most_common(4)], 4)
    return kind, f"{len(counts)} labels ({most})", notes


def _quoted(word: str) -> str:
    """A word as YAML reads it back: as it is, or in quotes if that would not do."""
    plain = re.fullmatch(r"\w[\w ./-]*(?<! )", word) and yaml.load(word, Loader) == word
    return word if plain else json.dumps(word, ensure_ascii=False)


def _label_column(
    columns: Sequence[str], values: Mapping[str, list[str]], rows: Sequence[files.Row]
) -> str:
    """The column of lists or named like a label, else that of the fewest and shortest values."""
    lists = [c for c in columns if any(isinstance(row.get(c), list) for row in rows)]
    named = [c for c in columns if c.lower() in guess.LABELS]
    fewest = min(columns, key=lambda c: (len(set(values[c])), sum(map(len, values[c]))))
    if not (lists or named) and len(set(values[fewest])) * 2 > len(rows):
        names = join_limited(columns, 20)
        raise UserError(f"which column is the label? Give --label COLUMN (columns: {names})")
    return (lists or named or [fewest])[0]


def _other_splits(path: Path) -> dict[str, str]:
    """Files beside a training file that are named like further splits."""
    names = {"validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
    others: dict[str, str] = {}
    for split in names if "train" in path.name else ():
        for name in names[split]:
            other = path.with_name(path.name.replace("train", name))
            if other.is_file():
                others.setdefault(split, str(other))
    return others
