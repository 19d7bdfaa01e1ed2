"""Which runs may have classes of their own imported: those that were made here, and not changed.

A run is what people share as a model. Its config can name any class, so a class that is not
ftlight's is imported from a run only if fit left a note of that very run in the user's own folder:
its place, the classes that it names, where they were imported from, and the bytes of their files.
There is no key and no signature: these would not cover code that comes back changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftlight.run import folder as runs
from ftlight.run import records
from ftlight.utils.errors import UserError, shortened
from ftlight.utils.yaml_file import parse

# What a run may name of a trainer that is code, or a place to write.
ATTACHED = ("callbacks", "logger", "plugins", "profiler", "default_root_dir", "run")
PLACED = ("strategy", "accelerator")  # plain names of Lightning's are no code
VARIABLE = "FTLIGHT_TRUST"  # runs to trust where nobody can be asked, as in a job


def classes(config: Mapping[str, Any]) -> list[str]:
    """The classes that a config names for task and data: these, if not ftlight's, and in options.

    >>> classes({"model": {"class_path": "my_task.Mine"}, "data": {"module": "TextData"}})
    ['my_task.Mine']
    """
    found = []
    for section, word in (("model", "task"), ("data", "module")):
        value = config.get(section)
        options = value if isinstance(value, Mapping) else {"class_path": value}
        name = options.get("class_path", options.get(word))
        if isinstance(name, str) and not is_ours(name):
            found.append(name)
    return list(dict.fromkeys([*found, *class_paths(_options(config))]))


def class_paths(value: Any) -> list[str]:
    """The class paths anywhere in a value, also in its texts.

    Where an option may be anything, as ``model.peft`` may, the parser reads a text as YAML, and
    makes any class of any module from a mapping with ``class_path``.

    >>> class_paths({"peft": [{"class_path": "a.B"}], "unfreeze": '{"class_path": "c.D"}'})
    ['a.B', 'c.D']
    """
    return list(_paths(value))


def is_ours(path: str) -> bool:
    """Whether a class is of ftlight, or one that it has by its bare name.

    >>> is_ours("TextClassification"), is_ours("ftlight.TextData"), is_ours("ftlights.TextData")
    (True, True, False)
    """
    return "." not in path or path.startswith("ftlight.")


def attached(config: Mapping[str, Any]) -> list[str]:
    """What a config would have a trainer import, or write elsewhere, as ``trainer.callbacks``."""
    trainer = config.get("trainer")
    options = trainer if isinstance(trainer, Mapping) else {}
    named = [name for name in ATTACHED if options.get(name) not in (None, [], {}, False, True)]
    return [f"trainer.{name}" for name in named] + placed(config)


def placed(config: Mapping[str, Any]) -> list[str]:
    """What a config would have a trainer import to compute somewhere, as ``trainer.strategy``.

    >>> placed({"trainer": {"strategy": "ddp", "accelerator": {"class_path": "a.B"}}})
    ['trainer.accelerator']
    """
    trainer = config.get("trainer")
    options = trainer if isinstance(trainer, Mapping) else {}
    given = {name: options[name] for name in PLACED if options.get(name) is not None}
    # any other text may hold YAML, of which the parser makes a class
    plain = re.compile(r"[\w-]+")
    return [
        f"trainer.{name}"
        for name, value in given.items()
        if not (isinstance(value, str) and plain.fullmatch(value))
    ]


def import_path(folder: Path) -> list[str]:
    """Folders that classes of a run are imported from; never one inside of it."""
    inside = os.path.realpath(folder)
    return [
        path
        for path in records.facts(folder).get("python_path", [])
        if os.path.commonpath([inside, os.path.realpath(path)]) != inside
    ]


def is_trusted(folder: Path) -> bool:
    """Whether a run was made here, or is trusted by the environment."""
    wanted = os.path.realpath(folder)
    given = [path for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]
    return wanted in map(os.path.realpath, given) or (_state() / _digest(folder)).is_file()


def note(folder: Path, config: Mapping[str, Any] | None = None) -> None:
    """Notes that a run is trusted, if it names code; a home that cannot be written has no notes.

    Args:
        folder: the run.
        config: its config where that is at hand; it is read otherwise.
    """
    config = config or runs.read_config(folder)
    if classes(config) or attached(config):
        with contextlib.suppress(OSError):
            home = _state()
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            (home / _digest(folder)).touch()


def _state() -> Path:
    """The user's folder of notes."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "ftlight" / "trusted"


def _digest(folder: Path) -> str:
    """What a note is named by; another if anything of it changes."""
    config = runs.read_config(folder)
    names, path = classes(config), import_path(folder)
    trainer = config.get("trainer")
    options = trainer if isinstance(trainer, Mapping) else {}
    parts: list[Any] = [
        os.path.realpath(folder),
        names,
        path,
        {name: options.get(name) for name in (*ATTACHED, *PLACED)},
        [_bytes(name, path) for name in names],
        [_bytes(name, path) for name in _paths(options)],
    ]
    if class_paths(_options(config)):  # what is made of these depends on the options
        parts.append(_options(config))
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _options(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options of task and data, without the classes of these themselves."""
    sections = [config.get(name) for name in ("model", "data")]
    return [
        {k: v for k, v in section.items() if k != "class_path"}
        for section in sections
        if isinstance(section, Mapping)
    ]


def _paths(value: Any) -> Iterator[str]:
    """The class paths anywhere in a value."""
    if isinstance(value, str):
        yield from _in_text(value)
    elif isinstance(value, Mapping):
        if isinstance(value.get("class_path"), str):
            yield value["class_path"]
        for each in value.values():
            yield from _paths(each)
    elif isinstance(value, Sequence):
        for each in value:
            yield from _paths(each)


def _in_text(text: str) -> Iterator[str]:
    """The class paths of a text that is YAML; the text itself if it may be, and does not read."""
    if "class_path" not in text and "\\" not in text:  # of which it may be made by escapes
        return
    try:
        inside = parse(text, "text")[0]
    except UserError:
        yield shortened(text)
        return
    if inside != text:  # a text in quotes may hold another
        yield from _paths(inside)


def _bytes(path: str, folders: Sequence[str]) -> str:
    """The digest of the file of a class's module; empty if it lies in none of these folders.

    These come after Python's own, as in an import: another file of that name is what it finds.
    """
    module = path.rpartition(".")[0].replace(".", "/")
    for folder in [*sys.path, *folders]:
        for file in (Path(folder, f"{module}.py"), Path(folder, module, "__init__.py")):
            if module and file.is_file():
                return hashlib.sha256(file.read_bytes()).hexdigest()
    return ""
