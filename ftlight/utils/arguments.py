"""What a class was constructed with, by the names of its options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any


def given(cls: type, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a constructor by name; those that only bases name are among them.

    Empty if they do not fit, which the constructor itself will say.

    >>> class Base:
    ...     def __init__(self, train=None, *, workers=0): ...
    >>> class Data(Base):
    ...     def __init__(self, train=None, **base): ...
    >>> given(Data, ["a.csv"], {"workers": 2})
    {'train': 'a.csv', 'workers': 2}
    """
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]
    try:
        bound = signature.bind_partial(None, *positional, **named).arguments
    except TypeError:
        return {}
    found = {}
    for name, value in list(bound.items())[1:]:
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            found.update(value)
        else:
            found[name] = value
    return found


def defaults(cls: type) -> dict[str, Any]:
    """Defaults of a class's options, those of its bases among them.

    >>> class Base:
    ...     def __init__(self, train=None, *, workers=0): ...
    >>> class Data(Base):
    ...     def __init__(self, train=None, *, text="text", workers=None, **base): ...
    >>> defaults(Data)
    {'train': None, 'workers': None, 'text': 'text'}
    """
    found = {}
    for base in reversed(cls.__mro__[:-1]):
        if "__init__" in vars(base):
            for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items():
                if parameter.default is not inspect.Parameter.empty:
                    found[name] = parameter.default
    return found


def accepted(cls: type) -> set[str]:
    """Names of a class's options: of its bases those that ``**kwargs`` hands on to them.

    >>> class Base:
    ...     def __init__(self, train=None, *, workers=0): ...
    >>> class Data(Base):
    ...     def __init__(self, *, text="text", **base): ...
    >>> class Closed(Data):
    ...     def __init__(self, note=""): ...
    >>> sorted(accepted(Data)), accepted(Closed)
    (['text', 'train', 'workers'], {'note'})
    """
    names: set[str] = set()
    for base in (c for c in cls.__mro__[:-1] if "__init__" in vars(c)):
        _, *parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        names |= {p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD}
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
            break
    return names
