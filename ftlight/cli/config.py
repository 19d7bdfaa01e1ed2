"""The short YAML in front of the parser: files merged, checked, expanded to ``class_path`` form."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftlight.cli.classes import describe, task_names
from ftlight.cli.options import Option
from ftlight.run import former, records
from ftlight.run.folder import as_recorded_now
from ftlight.utils.errors import UserError, did_you_mean, join_limited, unknown
from ftlight.utils.foreign import FOREIGN, foreign
from ftlight.utils.paths import anchor
from ftlight.utils.yaml_file import read_yaml

TRAINER = "ftlight.trainer.trainer.Trainer"
TOP = ("model", "data", "trainer", "seed_everything")


def merge(
    paths: Iterable[str | Path], strangers: Iterable[Path] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """Reads and merges YAML files in order: later ones win, key by key; lists are replaced whole.

    Classes are found beside a file, but for those of runs: nothing is imported from these.

    Args:
        paths: the files.
        strangers: folders of runs, also such as lack what would tell that they are some.

    Returns:
        ``{"model": (class name, options), "data": (…), "trainer": {…}, …}`` and the places of the
        keys.

    Raises:
        UserError: a file does not read, or has a key that is none of ours.
    """
    merged: dict[str, Any] = {"model": (None, {}), "data": (None, {}), "trainer": {}}
    places: dict[str, str] = {}
    for path in paths:
        raw, here = read_yaml(path)
        places |= {k.replace(".init_args.", "."): v for k, v in here.items()}
        folder = Path(path).absolute().parent
        is_run = (folder / "run.json").is_file()
        is_place = not is_run and folder not in strangers
        if is_run:
            if not raw.get("model"):
                raise UserError(f"{path}: names no model; {records.WAY}")
            raw = as_recorded_now(raw, records.labels(folder))
        if is_place and str(folder) not in sys.path:
            sys.path.append(str(folder))
        for key, value in raw.items():
            place = f"{here.get(str(key), path)}: "
            if key not in TOP:
                raise UserError(place + _unknown_key(str(key)))
            if key in ("model", "data"):
                name, options = _section(value, key, place)
                for k, v in options.items():
                    try:
                        options[k] = anchor(key, k, v, folder)
                    except UserError as error:
                        raise UserError(at(places, f"{key}.{k}") + str(error)) from None
                old_name, old = merged[key]
                merged[key] = (name or old_name, {**old, **options})
            elif key == "trainer":
                if not isinstance(value or {}, dict):
                    raise UserError(f"{place}trainer: expected options, got {value!r}")
                merged[key] = {**merged[key], **(value or {})}
            else:
                merged[key] = value
    return merged, places


def _unknown_key(key: str) -> str:
    """The error of a key that is no section."""
    if name := foreign(key, TOP):
        return f"unknown key {key}; ftlight calls it {name} (keys: {', '.join(TOP)})"
    return unknown("unknown key", key, TOP, "keys")


def _section(value: Any, key: str, place: str) -> tuple[str | None, dict[str, Any]]:
    """Splits ``model:`` or ``data:`` in either form into class name and options."""
    word = "task" if key == "model" else "module"
    if value is None:
        return None, {}
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, dict):
        raise UserError(f"{place}{key}: expected options, got {value!r}")
    options = dict(value)
    name = options.pop(word, None)
    if "class_path" in options:
        if name is not None or set(options) - {"class_path", "init_args"}:
            raise UserError(
                f"{place}{key} has both forms; use either {word}: with options beside it, "
                "or class_path: and init_args:"
            )
        name, options = options["class_path"], options.get("init_args") or {}
        if not isinstance(options, dict):
            raise UserError(f"{place}{key}.init_args: expected options, got {options!r}")
    elif "init_args" in options:
        raise UserError(f"{place}{key}.init_args needs {key}.class_path")
    if name is not None and not isinstance(name, str):
        raise UserError(f"{place}{key}.{word}: expected the name of a class, got {name!r}")
    return name, dict(options)


def expand(merged: dict[str, Any], places: dict[str, str]) -> dict[str, Any]:
    """Turns a merged config into the ``class_path``/``init_args`` form that the parser reads.

    Args:
        merged: what :func:`merge` returns, with classes named on the command line in it.
        places: dotted key to ``file:line``.

    Raises:
        UserError: no task, unknown classes or options (all of them, one line each).
    """
    name, model_options = merged["model"]
    if not name:
        raise _no_task()
    task = describe(name, at(places, "model.task", "model.class_path", "model"))
    data_name, data_options = merged["data"]
    if not data_name and not task.data_module:
        raise UserError(f"{name} names no data module of its own: write data: {{module: …}}")
    data = describe(
        str(data_name or task.data_module),
        at(places, "data.module", "data.class_path", "data"),
        home=task.path.rpartition(".")[0],
    )
    expanded = {
        **merged,
        "model": {"class_path": task.path, "init_args": model_options},
        "data": {"class_path": data.path, "init_args": data_options},
    }
    given = {"model": model_options, "data": data_options, "trainer": merged["trainer"]}
    known = {s: [o.name for o in options] for s, options in options_of(expanded).items()}
    owners = {"model": task.name, "data": data.name, "trainer": "the trainer"}
    faults = []
    for section, options in given.items():
        for key in options:
            if key not in known[section]:
                fault = _unknown_option(section, str(key), known, owners[section])
                faults.append(at(places, f"{section}.{key}") + fault)
    if faults:
        raise UserError("\n".join(faults))
    return expanded


def _no_task() -> UserError:
    tasks = join_limited(task_names())
    return UserError(
        f"no task: write model: {{task: …}} in the YAML or give --model TASK (tasks: {tasks})"
    )


def options_of(expanded: Mapping[str, Any]) -> dict[str, Sequence[Option]]:
    """The options of model, data and trainer in an expanded config."""
    return {
        "model": describe(expanded["model"]["class_path"]).options,
        "data": describe(expanded["data"]["class_path"]).options,
        "trainer": describe(TRAINER).options,
    }


def _unknown_option(section: str, key: str, known: Mapping[str, Iterable[str]], owner: str) -> str:
    """The error of an option that its section does not have."""
    if section == "data" and key in former.GONE:
        return f"data.{key} is gone: {former.GONE[key]}"
    wrong = f"{section}.{key} is not an option of {owner}"
    elsewhere = [s for s, names in known.items() if s != section and key in names]
    if elsewhere and key not in FOREIGN:
        return f"{wrong}; it belongs under {elsewhere[0]}:"
    name = foreign(key, known[section])
    if name and name != f"{section}.{key}":
        return f"{section}.{key} is not an option; ftlight calls it {name}"
    names = join_limited(sorted(known[section]), 30)
    return f"{wrong}{did_you_mean(key, known[section])} (options: {names})"


def at(places: Mapping[str, str], *keys: str) -> str:
    """The place of the first of ``keys`` that has one, ready to stand before a message."""
    return next((f"{places[k]}: " for k in keys if k in places), "")
