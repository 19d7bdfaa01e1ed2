"""``init``: a short YAML from a data file, or a copy of a shipped example."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import yaml

from ftlight.cli import classes, config, guess
from ftlight.data import files, labels
from ftlight.utils.errors import UserError, did_you_mean, join_limited

BACKBONE = guess.SENTENCE_ENCODER
SAMPLE = 2000


def examples() -> dict[str, Path]:
    """Shipped configs by name: in the package when installed, beside it in a checkout."""
    package = Path(__file__).parents[1]
    home = next(p for p in (package / "configs", package.parent / "configs") if p.is_dir())
    return {p.stem: p for p in sorted(home.glob("*.yaml"))}


def init(words: Sequence[str]) -> str:
    """Runs the verb.

    Args:
        words: FILE or the name of an example, then ``--label COLUMN`` and ``--task T`` in any order.

    Returns:
        What to print.

    Raises:
        UserError: there is no such file, example, column or option.
    """
    rest, given = list(words), dict[str, str]()
    alone = []
    while rest:
        word, equals, value = rest.pop(0).partition("=")
        if word in ("--label", "--task"):
            if equals:
                rest.insert(0, value)
            if not rest:
                raise UserError(f"{word} needs a value")
            given[word] = rest.pop(0)
        elif word.startswith("-"):
            raise UserError(
                f"{word} is not an option of init{did_you_mean(word, ['--label', '--task'])} (options: --label COLUMN, --task T)"
            )
        else:
            alone.append(f"{word}{equals}{value}")
    if len(alone) != 1:
        raise UserError(
            f"init needs one data file, or one of the examples {join_limited(examples(), 30)}"
        )
    if alone[0] in examples() and not Path(alone[0]).exists():
        return copy_example(alone[0])
    return from_data(alone[0], given.get("--label"), given.get("--task"))


def copy_example(name: str) -> str:
    """Copies an example, its data and its task to the working folder; an existing file is refused."""
    source = examples()[name]
    text = source.read_text(encoding="utf-8")
    folders = [p for p in source.parent.iterdir() if p.is_dir() and f"{p.name}/" in text]
    modules = [p for p in source.parent.glob("*.py") if f" {p.stem}." in text]
    for item in (source, *folders, *modules):
        if Path(item.name).exists():
            raise UserError(
                f"{item.name} is there already; nothing is overwritten. Run init in another folder"
            )
    for file in (source, *modules):
        shutil.copy(file, file.name)
    for folder in folders:
        shutil.copytree(folder, folder.name)
    copied = ", ".join([source.name, *(f.name for f in modules), *(f"{f.name}/" for f in folders)])
    data = "" if folders else "; its data are not shipped: put your own files into it"
    return f"copied {copied}{data}\nnext: python -m ftlight fit -c {source.name}\n"


def from_data(name: str, label: str | None, task: str | None) -> str:
    """A commented YAML for a data file, with what was inferred and why."""
    if task is not None and task not in classes.task_names():
        raise UserError(
            f"no task {task}{did_you_mean(task, classes.task_names())} (tasks: {join_limited(classes.task_names())})"
        )
    if not Path(name).exists() and "." not in name:
        raise UserError(
            f"{name}: neither a file nor an example{did_you_mean(name, examples())} (examples: {join_limited(examples(), 30)})"
        )
    path = Path(name)
    asked = (
        guess.Guess(task, {}, "as asked for") if task not in (None, "TextClassification") else None
    )
    found = guess.by_form(path) if path.exists() and asked is None and task is None else None
    if found is not None:
        return _yaml(path, found)
    if asked is not None and (path.is_dir() or files.suffix(path) not in files.SUFFIXES):
        if not path.exists():
            files.check(name)
        return _yaml(path, asked)
    path = files.check(name)
    rows = list(islice(files.read(path), SAMPLE))
    if not rows:
        raise UserError(f"{path} has a header but no rows")
    found = guess.by_columns(rows) if task != "TextClassification" and label is None else None
    if asked is not None:
        return _yaml(path, found if found and found.task == task else asked)
    return _yaml(path, found) if found else _classification(path, rows, label)


def _yaml(path: Path, found: guess.Guess) -> str:
    """The YAML of a task whose data need no further look."""
    backbone = guess.BACKBONES.get(found.task, guess.SENTENCE_ENCODER)
    beside = {} if path.is_dir() else _beside(path)
    lines = [
        f"# from {path}: {found.why}",
        f"model: {{task: {found.task}, backbone: {backbone}}}  # any that fits the task, a hub id or a folder",
        "data:",
        *(f"  {split}: {_quoted(str(file))}" for split, file in {"train": path, **beside}.items()),
        *(f"  {k}: {v}" for k, v in found.options.items()),
        *(
            []
            if "validation" in beside or "user" in found.options
            else ["  # validation: FILE              # without it a tenth of train is held out"]
        ),
        f"# all options: python -m ftlight fit --help --model {found.task}",
    ]
    return "\n".join(lines) + "\n"


def _classification(path: Path, rows: list[files.Row], label: str | None) -> str:
    """The YAML of a text classification."""
    name = str(path)
    columns = [
        c
        for c in rows[0]
        if c != files.LINE and not any(isinstance(r.get(c), (dict, bytes)) for r in rows)
    ]
    if label is not None:
        files.need(rows[0], [label], str(path))
    values = {
        c: [files.as_text(r.get(c), name, 0, c) for r in rows if not isinstance(r.get(c), list)]
        for c in columns
    }
    label = label or _label_column(columns, values, rows)
    texts = [c for c in columns if c != label]
    if not texts:
        raise UserError(
            f"{path} has no text column beside {label} (columns: {join_limited(columns)})"
        )
    text = max(texts, key=lambda c: sum(map(len, values[c])))
    cells = [r.get(label) for r in rows]
    kind = "multi" if any(isinstance(c, list) for c in cells) else labels.infer_kind(values[label])
    listed = [str(m) for c in cells if isinstance(c, list) for m in c]
    counts = Counter(
        [
            *listed,
            *(
                m
                for v in values[label]
                for m in (labels.split_labels(v) if kind == "multi" else [v])
            ),
        ]
    )
    what = (
        f"{len(counts)} labels ({join_limited([n for n, _ in counts.most_common(4)], 4)})"
        if kind != "regression"
        else "numbers"
    )
    seen = f"the first {SAMPLE:,} rows" if len(rows) == SAMPLE else f"{len(rows):,} rows"
    more = [_quoted(c) for c in texts if c != text]
    beside = _beside(path)
    lines = [
        " ".join(f"# from {path}: {seen}, {kind} label(s), {what}".split()),
        f"model: {{task: TextClassification, backbone: {BACKBONE}}}  # any hub id or folder",
        "data:",
        f"  train: {_quoted(str(path))}",
        *(f"  {split}: {_quoted(file)}" for split, file in beside.items()),
        *(
            []
            if "validation" in beside
            else ["  # validation: FILE              # without it a tenth of train is held out"]
        ),
        f"  text: {_quoted(text)}"
        + (
            f"  # or several that are joined: [{_quoted(text)}, {more[0]}]; or text_pair: {more[0]}"
            if more
            else ""
        ),
        f"  label: {_quoted(label)}  # {kind}; others: {join_limited(more) or 'none'}",
        "# trainer: {max_epochs: 5}        # enough for about 1,000 steps if not given",
    ]
    return "\n".join(lines) + "\n"


def _quoted(word: str) -> str:
    """A word as YAML reads it back: as it is where that works, else in quotes."""
    plain = re.fullmatch(r"\w[\w ./-]*(?<! )", word) and yaml.load(word, config.Loader) == word
    return word if plain else json.dumps(word, ensure_ascii=False)


def _label_column(
    columns: Sequence[str], values: dict[str, list[str]], rows: Sequence[files.Row]
) -> str:
    """The column named like a label, else the one with the fewest and shortest values; lists are labels."""
    lists = [c for c in columns if any(isinstance(r.get(c), list) for r in rows)]
    named = [c for c in columns if c.lower() in guess.LABELS]
    few = sorted(columns, key=lambda c: (len(set(values[c])), sum(map(len, values[c]))))
    if not (lists or named) and len(set(values[few[0]])) * 2 > len(rows):
        raise UserError(
            f"which column is the label? Give --label COLUMN (columns: {join_limited(columns, 20)})"
        )
    return (lists or named or few)[0]


def _beside(path: Path) -> dict[str, str]:
    """Files named like further splits beside a training file."""
    found: dict[str, str] = {}
    for split, names in {
        "validation": ("validation", "valid", "val", "dev"),
        "test": ("test",),
    }.items():
        for name in names:
            other = path.with_name(path.name.replace("train", name))
            if "train" in path.name and other.is_file():
                found.setdefault(split, str(other))
    return found
