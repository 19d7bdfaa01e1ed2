"""Old names of 0.1: they keep working, and one line says the new name."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

log = logging.getLogger(__name__)


def keep_old_names(cls: type, names: Mapping[str, str]) -> None:
    """Makes old method names of a class work, for what it defines and for who calls it.

    Called for a base class and, from ``__init_subclass__``, for every subclass, so that
    ``super().old()`` finds the parent's own.

    Args:
        cls: the class.
        names: old name to new name.
    """
    for old, new in names.items():
        defined = vars(cls)
        if old in defined and new not in defined:
            log.warning("%s.%s is called %s since ftlight 0.2; rename it", cls.__name__, old, new)
            setattr(cls, new, defined[old])
            delattr(cls, old)
        method = vars(cls).get(new)
        if callable(method):
            line = f"{cls.__name__}.{old} is called {new} since ftlight 0.2"
            setattr(cls, old, _warned(method, line))


def _warned(method: Callable[..., Any], line: str) -> Callable[..., Any]:
    """Wraps a method to log a line when it is called."""

    @functools.wraps(method)
    def call(*args: Any, **options: Any) -> Any:
        log.warning(line)
        return method(*args, **options)

    return call


def old_attribute(module: Mapping[str, Any], names: Mapping[str, str], name: str) -> Any:
    """Looks up a module's attribute by its old name, for the module's ``__getattr__``.

    Args:
        module: the module's ``globals()``.
        names: old name to new name.
        name: the attribute.

    Raises:
        AttributeError: ``name`` is not one of the old names.
    """
    if name not in names:
        raise AttributeError(f"module {module['__name__']} has no attribute {name}")
    log.warning("%s.%s is called %s since ftlight 0.2", module["__name__"], name, names[name])
    return module[names[name]]


def renamed_property(old: str, new: str) -> Any:
    """An attribute of a class under its old name: the same value, with a line when it is set.

    Args:
        old: the old name.
        new: the new name.
    """

    def read(self: Any) -> Any:
        return getattr(self, new)

    def write(self: Any, value: Any) -> None:
        name = type(self).__name__
        log.warning("%s.%s is called %s since ftlight 0.2; rename it", name, old, new)
        setattr(self, new, value)

    return property(read, write, doc=f"The name of 0.1 for ``{new}``.")
