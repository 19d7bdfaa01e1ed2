"""Classes by name: found and described from their source where that tells enough, imported where it does not."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftlight.cli import options as signatures
from ftlight.cli import source
from ftlight.cli.options import Described, Option
from ftlight.utils.errors import UserError, listing, nearest

TASKS, DATA = (Path(__file__).parent / name for name in ("tasks", "data"))


def task_files() -> list[str]:
    """Names of the modules in ``ftlight/tasks``: one file, one task."""
    return sorted(p.stem for p in TASKS.glob("*.py") if p.stem != "__init__")


def task_names() -> list[str]:
    """Names of the shipped tasks: in each file the class of the same name, whatever its capitals."""
    found = []
    for stem in task_files():
        names = re.findall(r"^class (\w+)", (TASKS / f"{stem}.py").read_text(encoding="utf-8"), re.M)
        found += [name for name in names if name.lower() == stem.replace("_", "")]
    return found


def find_class(name: str, where: str = "", home: str = "") -> type:
    """Imports a class by its dotted path, or by its bare name among the shipped tasks and data modules.

    Args:
        name: ``TextClassification``, ``TextData`` or ``my_task.Mine``.
        where: place for an error.
        home: module to look in first.

    Raises:
        UserError: there is no such class; names the nearest.
    """
    module, _, attribute = name.rpartition(".")
    if module:
        try:
            found = getattr(importlib.import_module(module), attribute, None)
        except ModuleNotFoundError as error:
            if error.name not in (module, module.split(".")[0]):
                raise
            raise _no_module(name, where) from None
    else:
        classes = ((m, getattr(importlib.import_module(m), attribute, None)) for m in _homes(name, home))
        found = next((c for m, c in classes if getattr(c, "__module__", None) == m), None)
    if not isinstance(found, type):
        raise _no_class(name, where)
    return found


def describe(name: str, where: str = "", home: str = "") -> Described:
    """Describes the class that :func:`find_class` finds; imports it only where its source does not tell its options."""
    module, _, attribute = name.rpartition(".")
    told: Described | None = None
    if module:
        if not source.exists(module.split(".")[0]):
            raise _no_module(name, where)
        told = signatures.describe(module, attribute)
    else:
        there = {m: source.defines(m, name) for m in _homes(name, home)}
        if not any(has is not False for has in there.values()):
            raise _no_class(name, where)
        first = next(m for m, has in there.items() if has is not False)
        told = signatures.describe(first, name) if there[first] else None
    if told is not None:
        return told
    cls = find_class(name, where, home)
    return Described(class_path(cls), parsed(cls), getattr(cls, "data_module", None))


def _homes(name: str, home: str) -> list[str]:
    """Modules that may hold a class known by its bare name: the one given, then those of ours that do."""
    files = [*(TASKS / f"{stem}.py" for stem in task_files()), *DATA.glob("[!_]*.py")]
    own = [f for f in files if re.search(rf"^class {re.escape(name)}\b", f.read_text(encoding="utf-8"), re.M)]
    return [*([home] if home else []), *(f"ftlight.{f.parent.name}.{f.stem}" for f in own)]


def _no_class(name: str, where: str) -> UserError:
    return UserError(f"{where}no class {name}{nearest(name, task_names())} (tasks: {listing(task_names())}; or your_file.Class)")


def _no_module(name: str, where: str) -> UserError:
    module = name.rpartition(".")[0]
    return UserError(f"{where}no module {module} for {name}; put {module.split('.')[0]}.py beside the YAML")


def class_path(cls: type) -> str:
    """Dotted path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def parsed(cls: Callable[..., Any]) -> list[Option]:
    """Options of a class as the command-line parser has them, through ``**kwargs`` up to its bases."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    names = parser.add_class_arguments(cls, "c", fail_untyped=False)
    actions = {a.dest: a for a in parser._actions if a.dest in names}
    return [
        Option(n.removeprefix("c."), str(getattr(a, "_typehint", "")), a.default, " ".join(str(a.help or "").split()), "")
        for n, a in actions.items()
    ]


def options(cls: Callable[..., Any]) -> list[str]:
    """Option names of a class."""
    return [o.name for o in parsed(cls)]
