"""Classes by name: found and described from their source where that tells enough, imported where it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ftlight.cli import moved, source
from ftlight.cli import options as signatures
from ftlight.cli.options import Described, Option
from ftlight.tasks import HOMES
from ftlight.utils.errors import UserError, did_you_mean, join_limited


def task_names() -> list[str]:
    """Names of the shipped tasks."""
    return [name for name, home in HOMES.items() if home.endswith(".task")]


def public(path: str) -> str:
    """The public name of a shipped class, whatever module it is or was in; any other path as it is.

    >>> public("ftlight.data.text.TextData"), public("my_task.Mine")
    ('ftlight.TextData', 'my_task.Mine')
    """
    name = path.rpartition(".")[2]
    return f"ftlight.{name}" if path.startswith("ftlight.") and name in HOMES else path


def _definition(path: str) -> tuple[str, str]:
    """Module and name of a class: of a shipped one where it is defined."""
    module, _, name = public(path).rpartition(".")
    return (HOMES.get(name, module) if module == "ftlight" else module), name


def find_class(name: str, where: str = "", home: str = "") -> type:
    """Imports a class by its dotted path, or by its bare name among the shipped tasks and data modules.

    Args:
        name: ``TextClassification``, ``TextData`` or ``my_task.Mine``.
        where: place for an error.
        home: module to look in first.

    Raises:
        UserError: there is no such class; names the nearest.
    """
    module, attribute = _definition(name)
    if module:
        try:
            found = getattr(moved.import_module(module), attribute, None)
        except ModuleNotFoundError as error:
            if error.name not in (module, module.split(".")[0]):
                raise
            raise _no_module(name, where) from None
    else:
        classes = (
            (m, getattr(moved.import_module(m), attribute, None)) for m in _homes(name, home)
        )
        found = next((c for m, c in classes if getattr(c, "__module__", None) == m), None)
    if not isinstance(found, type):
        raise _no_class(name, where)
    return found


def describe(name: str, where: str = "", home: str = "") -> Described:
    """Describes the class that :func:`find_class` finds; imports it only where its source does not tell its options."""
    module, attribute = _definition(name)
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
        return told._replace(path=public(told.path))
    cls = find_class(name, where, home)
    return Described(class_path(cls), parsed(cls), getattr(cls, "data_module", None))


def _homes(name: str, home: str) -> list[str]:
    """Modules that may hold a class known by its bare name: the one given, then that of ours that does."""
    own = [HOMES[name]] if name in HOMES else []
    return [*([home] if home not in ("", "ftlight") else []), *own]


def _no_class(name: str, where: str) -> UserError:
    return UserError(
        f"{where}no class {name}{did_you_mean(name, task_names())} (tasks: {join_limited(task_names())}; or your_file.Class)"
    )


def _no_module(name: str, where: str) -> UserError:
    module = name.rpartition(".")[0]
    return UserError(
        f"{where}no module {module} for {name}; put {module.split('.')[0]}.py beside the YAML"
    )


def class_path(cls: type) -> str:
    """Dotted path of a class; the public name of a shipped one."""
    return public(f"{cls.__module__}.{cls.__qualname__}")


def parsed(cls: Callable[..., Any]) -> list[Option]:
    """Options of a class as the command-line parser has them, through ``**kwargs`` up to its bases."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    names = parser.add_class_arguments(cls, "c", fail_untyped=False)
    actions = {a.dest: a for a in parser._actions if a.dest in names}
    return [
        Option(
            n.removeprefix("c."),
            str(getattr(a, "_typehint", "")),
            a.default,
            " ".join(str(a.help or "").split()),
            "",
        )
        for n, a in actions.items()
    ]
