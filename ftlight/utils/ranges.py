"""Ranges of numbers, which stand in the types of options: ``batch_size: PositiveInt``.

Constructors, the check of a config and ``--help`` all read them there.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from ftlight.utils.errors import UserError
from ftlight.utils.foreign import unexpected

LARGEST = 2**63  # bound on whole numbers: those of torch, numpy and Arrow have 64 bits


class Range(NamedTuple):
    """The numbers that an option takes: finite ones, within bounds.

    Attributes:
        least: the least that it may be.
        most: the most that it may be.
        above: a bound that it must exceed.
        below: a bound that it must stay below.
        also: a number outside the bounds that means something else, such as -1 for no limit.

    >>> Range(least=0, below=1).words, Range(above=0, most=1).words, Range(least=1, also=-1).words
    ('from 0 to below 1', 'above 0 and at most 1', 'at least 1, or -1')
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    also: float | None = None

    @property
    def words(self) -> str:
        """The bounds in words; empty if there are none."""
        if self.also is not None:
            return f"{self._replace(also=None).words}, or {self.also:,}"
        upper = {"at most": self.most, "below": self.below}
        if self.least is not None and self.most is not None:
            return f"from {self.least:,} to {self.most:,}"
        if self.least is not None and self.below is not None:
            return f"from {self.least:,} to below {self.below:,}"
        bounds = {"at least": self.least, "above": self.above, **upper}
        return " and ".join(f"{words} {n:,}" for words, n in bounds.items() if n is not None)

    def holds(self, value: float) -> bool:
        """Whether a number is within the bounds."""
        return value == self.also or (
            not _excess(value)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


LAST_SEED = 2**32 - 1  # numpy's
SEED = Range(least=0, most=LAST_SEED)
PositiveInt = Annotated[int, Range(least=1)]
Count = Annotated[int, Range(least=0)]
Folds = Annotated[int, Range(least=2, most=1000)]
Length = Annotated[int, Range(least=3)]  # tokens: one between those of the beginning and the end
Processes = Annotated[int, Range(least=0, most=1000)]
Gigabytes = Annotated[float, Range(least=0, most=1000000)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(least=0, most=1)]
PositiveShare = Annotated[float, Range(above=0, most=1)]
Proportion = Annotated[float, Range(above=0, below=1)]
Fraction = Annotated[float, Range(least=0, below=1)]
Finite = Annotated[float, Range()]


class Part(NamedTuple):
    """A type of numbers in the type of an option: its name, int or float, and its range, if any."""

    name: str
    range: Range | None


def _excess(value: float) -> str:
    """What no option takes, whatever its bounds, as the word for what it takes; else empty."""
    if isinstance(value, int):
        return f"below {LARGEST:,}" if abs(value) >= LARGEST else ""
    return "" if math.isfinite(value) else "finite"


def refusal(value: float, parts: Sequence[Part]) -> str:
    """What is wrong with a number of an option; empty if nothing is.

    Args:
        value: the number.
        parts: the types of numbers that the option takes.

    >>> refusal(15, [Part("float", Range(above=0, below=1))])
    '15 is out of range; it must be above 0 and below 1'
    >>> refusal(2.5, [Part("int", Range(least=1))])
    'expected a whole number, got 2.5'
    """
    fitting = [p for p in parts if p.name == "float" or isinstance(value, numbers.Integral)]
    if parts and not fitting:
        return f"expected a whole number, got {value}"
    ranges = [p.range for p in fitting if p.range is not None]
    if len(ranges) < len(fitting) or not ranges or any(r.holds(value) for r in ranges):
        return ""
    bounds = " or ".join(dict.fromkeys(r.words for r in ranges if r.words))
    must = " and ".join(words for words in (bounds, _excess(value)) if words)
    return f"{_shown(value)} is out of range; it must be {must}"


def fault(kind: Any, value: Any) -> str:
    """What is wrong with a value of a type of numbers, in the words of an error; else empty.

    >>> fault(PositiveInt, 0), fault(PositiveInt, "5")
    ('0 is out of range; it must be at least 1', "expected a number, got '5'")
    """
    if is_number(value):
        return refusal(value, parts_of(kind))
    return f"expected a number, got {value!r}"


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _shown(value: float) -> str:
    """A number for a message; Python refuses to write out those of thousands of digits."""
    if isinstance(value, int) and abs(value) >= LARGEST:
        return f"a number of about {round(value.bit_length() * math.log10(2))} digits"
    return str(value)


def parts_of(kind: Any) -> list[Part]:
    """The types of numbers in a type.

    >>> parts_of(PositiveInt | None) == parts_of(Annotated[int, Range(least=1)])
    True
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        ranges = [r for r in inner[1:] if isinstance(r, Range)]
        return [p._replace(range=(*ranges, p.range)[0]) for p in parts_of(inner[0])]
    if origin in (typing.Union, types.UnionType):
        return [part for one in inner for part in parts_of(one)]
    return [Part(kind.__name__, None)] if kind in (int, float) else []


def check_ranges(cls: type, section: str, more: Mapping[str, Any] | None = None) -> None:
    """Makes the constructor of a class refuse numbers outside the ranges of its types.

    Called for a base class and, from ``__init_subclass__``, for every subclass. A keyword that it
    does not take is refused as Python does, with the nearest that it does take.

    Args:
        cls: the class.
        section: section of its options in a config, for errors: model, data or trainer.
        more: types of the options that it takes as keywords without naming them.
    """
    init = vars(cls).get("__init__")
    if not isinstance(init, types.FunctionType):
        return
    named = {name: _resolved(init, name) for name in init.__annotations__}
    kinds = {name: parts_of(kind) for name, kind in {**(more or {}), **named}.items()}
    ranged = {name: parts for name, parts in kinds.items() if any(p.range for p in parts)}
    takes = _keywords(init)
    if more is not None:
        takes = {*_keywords(init, open_too=True), *more}
    if ranged or takes:
        cls.__init__ = _checked(init, section, ranged, takes)  # type: ignore[misc]


def _keywords(init: Callable[..., Any], open_too: bool = False) -> set[str]:
    """The keywords that a constructor names; none if it takes others too, unless asked."""
    parameters = inspect.signature(init).parameters.values()
    if not open_too and any(p.kind is p.VAR_KEYWORD for p in parameters):
        return set()
    return {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}


def _resolved(function: types.FunctionType, name: str) -> Any:
    """The type of an argument; its text if that names what is not imported when it runs."""
    text = function.__annotations__[name]
    holder = types.SimpleNamespace(__annotations__={name: text})
    try:
        return typing.get_type_hints(holder, function.__globals__, include_extras=True)[name]
    except Exception:  # whatever its text raises
        return text


def _checked(
    init: types.FunctionType,
    section: str,
    ranged: Mapping[str, Sequence[Part]],
    takes: Collection[str],
) -> Callable[..., None]:
    """Wraps a constructor to check the numbers, and the keywords if known, that it is given."""
    code = init.__code__
    positional = code.co_varnames[1 : code.co_argcount]

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **options: Any) -> None:
        faults = []
        for name, value in {**dict(zip(positional, args, strict=False)), **options}.items():
            wrong = refusal(value, ranged[name]) if name in ranged and is_number(value) else ""
            faults += [f"{section}.{name}: {wrong}"] if wrong else []
        if faults:
            raise UserError("\n".join(faults))
        for name in options:
            if takes and name not in takes:
                raise TypeError(_unexpected(type(self), section, name))
        init(self, *args, **options)

    return checked


def _unexpected(cls: type, section: str, name: str) -> str:
    """What Python says of a keyword that a constructor does not take, and what was meant."""
    bases = [base for base in cls.__mro__ if "__init__" in vars(base)]
    known = set().union(*(_keywords(vars(base)["__init__"], open_too=True) for base in bases))
    end = unexpected(name, section, known - {"self"})
    return f"{cls.__name__}() got an unexpected keyword argument {name!r}{end}"
