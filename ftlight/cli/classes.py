"""Classes by name: described from their source if that tells enough, else imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ftlight.cli import moved, options, source
from ftlight.cli.options import Described, Option
from ftlight.tasks import HOMES
from ftlight.trainer.ranges import LIGHTNING
from ftlight.utils.errors import UserError, did_you_mean, join_limited

LIGHTNINGS = "lightning.pytorch.trainer.trainer.Trainer"


def task_names() -> list[str]:
    """Names of the shipped tasks."""
    return [name for name, home in HOMES.items() if home.endswith(".task")]


def public(path: str) -> str:
    """The public name of a shipped class, whatever module it is or was in; any other as it is.

    >>> public("ftlight.data.text.TextData"), public("my_task.Mine")
    ('ftlight.TextData', 'my_task.Mine')
    """
    name = path.rpartition(".")[2]
    return f"ftlight.{name}" if path.startswith("ftlight.") and name in HOMES else path


def _definition(path: str) -> tuple[str, str]:
    """Module and name of a class; of a shipped one, the module that defines it."""
    module, _, name = public(path).rpartition(".")
    return (HOMES.get(name, module) if module == "ftlight" else module), name


def find_class(name: str, where: str = "", home: str = "") -> type:
    """Imports a class by its dotted path, or by its bare name among the shipped ones.

    Args:
        name: ``TextClassification``, ``TextData`` or ``my_task.Mine``.
        where: Place for an error, such as ``"x.yaml:2: "``.
        home: Module to look in first for a bare name.

    Raises:
        UserError: there is no such class; names the nearest.
    """
    module, attribute = _definition(name)
    if not module:
        for candidate in _modules_of(name, home):
            cls = getattr(moved.import_module(candidate), name, None)
            if isinstance(cls, type) and cls.__module__ == candidate:
                return cls
        raise _no_class(name, where)
    try:
        cls = getattr(moved.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name not in (module, module.split(".")[0]):
            raise
        raise _no_module(name, where) from None
    if not isinstance(cls, type):
        raise _no_class(name, where)
    return cls


def describe(name: str, where: str = "", home: str = "") -> Described:
    """Describes the class that :func:`find_class` finds; imports it only if its source is unclear.

    Args:
        name: ``TextClassification``, ``TextData`` or ``my_task.Mine``.
        where: Place for an error.
        home: Module to look in first for a bare name.

    Raises:
        UserError: there is no such class; names the nearest.
    """
    module, attribute = _definition(name)
    if module and not source.exists(module.split(".")[0]):
        raise _no_module(name, where)
    if not module:
        module = _defining_module(name, where, home)
    described = options.describe(module, attribute) if module else None
    if described is not None:
        described = described._replace(options=[_limited(o) for o in described.options])
        return described._replace(path=public(described.path))
    cls = find_class(name, where, home)
    return Described(class_path(cls), parsed(cls), getattr(cls, "data_module", None))


def _limited(option: Option) -> Option:
    """An option of Lightning's trainer with the range that ftlight gives it; any other as it is."""
    if option.owner != LIGHTNINGS or option.name not in LIGHTNING:
        return option
    return option._replace(type=str(LIGHTNING[option.name]).replace("typing.", ""), owner="")


def _defining_module(name: str, where: str, home: str) -> str:
    """The module that defines a class known by its bare name; empty if only an import can tell."""
    for module in _modules_of(name, home):
        defines = source.defines(module, name)
        if defines is None:
            return ""
        if defines:
            return module
    raise _no_class(name, where)


def _modules_of(name: str, home: str) -> list[str]:
    """Modules that may define a class known by its bare name, the one given first."""
    shipped = [HOMES[name]] if name in HOMES else []
    return [home, *shipped] if home not in ("", "ftlight") else shipped


def _no_class(name: str, where: str) -> UserError:
    nearest, tasks = did_you_mean(name, task_names()), join_limited(task_names())
    return UserError(f"{where}no class {name}{nearest} (tasks: {tasks}; or your_file.Class)")


def _no_module(name: str, where: str) -> UserError:
    module = name.rpartition(".")[0]
    file = f"{module.split('.')[0]}.py"
    return UserError(f"{where}no module {module} for {name}; put {file} beside the YAML")


def class_path(cls: type) -> str:
    """Dotted path of a class; the public name of a shipped one."""
    return public(f"{cls.__module__}.{cls.__qualname__}")


def parsed(cls: Callable[..., Any]) -> list[Option]:
    """Options of a class as jsonargparse finds them, through ``**kwargs`` up to its bases."""
    from jsonargparse import ArgumentParser

    from ftlight.utils import internals  # not above: it loads torch

    parser = ArgumentParser(exit_on_error=False)
    names = parser.add_class_arguments(cls, "c", fail_untyped=False)
    found = []
    for action in internals.actions_of(parser):
        if action.dest in names:
            name = action.dest.removeprefix("c.")
            sentence = " ".join(str(action.help or "").split())
            kind = str(internals.type_of(action))
            found.append(Option(name, kind, action.default, sentence, owner=""))
    return found
