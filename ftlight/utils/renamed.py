"""Names of 0.1: what a user wrote against them goes on working, and one line says the new name."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

log = logging.getLogger(__name__)


def keep_old_names(cls: type, names: Mapping[str, str]) -> None:
    """Makes old names of a class work: what it defines under one is known by the new name too, and the other way round.

    Called for a base class and, from ``__init_subclass__``, for every subclass, so that ``super().old()`` finds the parent's own.

    Args:
        cls: the class.
        names: old name to new name.
    """
    for old, new in names.items():
        own = vars(cls)
        if old in own and new not in own:
            log.warning("%s.%s is called %s since ftlight 0.2; rename it", cls.__name__, old, new)
            setattr(cls, new, own[old])
            delattr(cls, old)
        method = vars(cls).get(new)
        if callable(method):
            setattr(
                cls, old, _warned(method, f"{cls.__name__}.{old} is called {new} since ftlight 0.2")
            )


def _warned(method: Callable[..., Any], line: str) -> Callable[..., Any]:
    """A method that says a line when it is called."""

    @functools.wraps(method)
    def call(*args: Any, **options: Any) -> Any:
        log.warning(line)
        return method(*args, **options)

    return call


def old_attribute(module: Mapping[str, Any], names: Mapping[str, str], name: str) -> Any:
    """An attribute of a module under its old name, for the module's ``__getattr__``.

    Args:
        module: the module's ``globals()``.
        names: old name to new name.
        name: what is looked for.

    Raises:
        AttributeError: it is none of the old names.
    """
    if name not in names:
        raise AttributeError(f"module {module['__name__']} has no attribute {name}")
    log.warning("%s.%s is called %s since ftlight 0.2", module["__name__"], name, names[name])
    return module[names[name]]
