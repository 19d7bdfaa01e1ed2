"""The short YAML in front of the command-line parser: read, merged, checked, expanded to ``class_path`` form."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ftlight.cli.classes import describe, task_names
from ftlight.utils.errors import UserError, did_you_mean, join_limited

PATHS = {
    "data": ("train", "validation", "test", "items", "folder"),
    "model": ("backbone", "label_descriptions"),
}
TRAINER = "ftlight.trainer.trainer.Trainer"
TOP = ("model", "data", "trainer", "seed_everything")
# What other tools call our options; named in the error, never guessed.
FOREIGN = {
    "learning_rate": "model.lr",
    "model_name_or_path": "model.backbone",
    "pretrained_model_name_or_path": "model.backbone",
    "base_model": "model.backbone",
    "output_dir": "trainer.run (--run DIR)",
    "default_root_dir": "trainer.run (--run DIR)",
    "epochs": "trainer.max_epochs",
    "num_train_epochs": "trainer.max_epochs",
    "per_device_train_batch_size": "data.batch_size",
    "train_file": "data.train",
    "validation_file": "data.validation",
    "max_seq_length": "data.max_length",
    "warmup_ratio": "model.warmup",
    "freeze": "model.unfreeze",
    "freeze_backbone": "model.unfreeze",
    "lora": "model.peft",
    "peft_config": "model.peft",
    "layerwise_decay": "model.layer_decay",
    "seed": "seed_everything",
    "run": "trainer.run (--run DIR)",
    "name": "trainer.name (--name N)",
    "wandb": "trainer.wandb (--wandb PROJECT)",
}


class Loader(yaml.SafeLoader):
    """YAML with 1.2's booleans (only true and false) and floats such as 1e-4, so that labels named no or on stay words."""


Loader.yaml_implicit_resolvers = {
    first: [
        (tag, rx)
        for tag, rx in resolvers
        if tag.rpartition(":")[2] not in ("bool", "timestamp", "int", "float")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)


def _walk(node: yaml.Node, key: str, file: str, places: dict[str, str]) -> None:
    """Notes the line of every key below ``node`` and refuses a key given twice."""
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _walk(item, f"{key}.{number}", file, places)
    if not isinstance(node, yaml.MappingNode):
        return
    for name, value in node.value:
        here = f"{file}:{name.start_mark.line + 1}"
        dotted = f"{key}.{name.value}" if key else str(name.value)
        if places.get(dotted, "").startswith(f"{file}:"):
            raise UserError(
                f"{here}: {dotted} is given twice (first in line {places[dotted].rpartition(':')[2]}); keep one"
            )
        places[dotted] = here
        _walk(value, dotted, file, places)


def read_yaml(path: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Reads one YAML file.

    Returns:
        The mapping, and for every dotted key its place as ``file:line``.

    Raises:
        UserError: the file is missing, does not parse, holds no mapping, or holds a key twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        beside = path.parent.glob("*.y*ml") if path.parent.is_dir() else ()
        raise UserError(
            f"{path}: no such file{did_you_mean(path.name, [p.name for p in beside])}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        places: dict[str, str] = {}
        if node is not None:
            _walk(node, "", str(path), places)
        data = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(
            f"{path}{line}: not valid YAML: {error.problem or error.context}; check indentation and quotes"
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UserError(
            f"{path}: expected keys such as model: and data:, got {type(data).__name__}"
        )
    return data, places


def _unknown(section: str, key: str, known: Mapping[str, Iterable[str]], owner: str) -> str:
    """The words for an option that its section does not have."""
    if key in FOREIGN and FOREIGN[key] != f"{section}.{key}":
        return f"{section}.{key} is not an option; ftlight calls it {FOREIGN[key]}"
    elsewhere = [s for s, names in known.items() if s != section and key in names]
    if elsewhere:
        return f"{section}.{key} is not an option of {owner}; it belongs under {elsewhere[0]}:"
    return f"{section}.{key} is not an option of {owner}{did_you_mean(key, known[section])} (options: {join_limited(sorted(known[section]), 30)})"


def _section(value: Any, key: str, word: str, place: str) -> tuple[str | None, dict[str, Any]]:
    """Splits ``model:`` or ``data:`` in either form into class name and options."""
    if value is None:
        return None, {}
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, dict):
        raise UserError(f"{place}{key}: expected options, got {value!r}")
    value = dict(value)
    name = value.pop(word, None)
    if "class_path" in value:
        if name is not None or set(value) - {"class_path", "init_args"}:
            raise UserError(
                f"{place}{key} has both forms; use either {word}: with options beside it, or class_path: and init_args:"
            )
        name, value = value["class_path"], value.get("init_args") or {}
        if not isinstance(value, dict):
            raise UserError(f"{place}{key}.init_args: expected options, got {value!r}")
        value = dict(value)
    elif "init_args" in value:
        raise UserError(f"{place}{key}.init_args needs {key}.class_path")
    if name is not None and not isinstance(name, str):
        raise UserError(f"{place}{key}.{word}: expected the name of a class, got {name!r}")
    return name, value


def anchor(section: str, key: str, value: Any, folder: Path) -> Any:
    """Makes the value of an option that names a file absolute: from the working folder, else from ``folder``."""
    if key in PATHS.get(section, ()) and isinstance(value, str) and value and ":" not in value:
        for path in (Path(value).expanduser(), folder / value):
            if path.exists():
                return str(path.absolute())
    return value


def merge(paths: Iterable[str | Path]) -> tuple[dict[str, Any], dict[str, str]]:
    """Reads and merges YAML files in order: later ones win, key by key; lists are replaced whole.

    Returns:
        ``{"model": (class name, options), "data": (…), "trainer": {…}, …}`` and the places of the keys.
    """
    merged: dict[str, Any] = {"model": (None, {}), "data": (None, {}), "trainer": {}}
    places: dict[str, str] = {}
    for path in paths:
        raw, here = read_yaml(path)
        places |= {k.replace(".init_args.", "."): v for k, v in here.items()}
        folder = Path(path).absolute().parent
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        for key, value in raw.items():
            place = f"{here.get(str(key), path)}: "
            if key not in TOP:
                hint = (
                    f"; ftlight calls it {FOREIGN[key]}"
                    if key in FOREIGN
                    else did_you_mean(str(key), TOP)
                )
                raise UserError(f"{place}unknown key {key}{hint} (keys: {', '.join(TOP)})")
            if key in ("model", "data"):
                name, opts = _section(value, key, "task" if key == "model" else "module", place)
                opts = {k: anchor(key, k, v, folder) for k, v in opts.items()}
                old_name, old = merged[key]
                merged[key] = (name or old_name, {**old, **opts})
            elif key == "trainer":
                if not isinstance(value or {}, dict):
                    raise UserError(f"{place}trainer: expected options, got {value!r}")
                merged[key] = {**merged[key], **(value or {})}
            else:
                merged[key] = value
    return merged, places


def expand(merged: dict[str, Any], places: dict[str, str]) -> dict[str, Any]:
    """Turns a merged config into the ``class_path``/``init_args`` form that the parser reads.

    Args:
        merged: what :func:`merge` returns, with classes named on the command line already in it.
        places: dotted key to ``file:line``.

    Raises:
        UserError: no task, unknown classes or options (all of them, one line each).
    """
    name, model_options = merged["model"]
    if not name:
        raise UserError(
            f"no task: write model: {{task: …}} in the YAML or give --model TASK (tasks: {join_limited(task_names())})"
        )
    task = describe(name, at(places, "model.task", "model.class_path", "model"))
    data_name, data_options = merged["data"]
    if not data_name and not task.data_module:
        raise UserError(f"{name} names no data module of its own: write data: {{module: …}}")
    home = task.path.rpartition(".")[0]
    data = describe(
        str(data_name or task.data_module),
        at(places, "data.module", "data.class_path", "data"),
        home,
    )
    found = {"model": task, "data": data, "trainer": describe(TRAINER)}
    known = {section: {o.name for o in about.options} for section, about in found.items()}
    given = {"model": model_options, "data": data_options, "trainer": merged["trainer"]}
    owners = {"model": task.name, "data": data.name, "trainer": "the trainer"}
    faults = [
        at(places, f"{s}.{k}") + _unknown(s, str(k), known, owners[s])
        for s, opts in given.items()
        for k in opts
        if k not in known[s]
    ]
    if faults:
        raise UserError("\n".join(faults))
    rest = {k: v for k, v in merged.items() if k not in ("model", "data", "trainer")}
    return {
        **rest,
        "trainer": merged["trainer"],
        "model": {"class_path": task.path, "init_args": model_options},
        "data": {"class_path": data.path, "init_args": data_options},
    }


def at(places: Mapping[str, str], *keys: str) -> str:
    """The place of the first of ``keys`` that has one, ready to stand before a message."""
    return next((f"{places[k]}: " for k in keys if k in places), "")
