"""Ranges of options, which stand in their types."""

from __future__ import annotations

import inspect
import math
import pickle
import re
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from conftest import each

from ftlight import TextClassification, TextData, Trainer
from ftlight.cli import classes, config
from ftlight.cli.values import Part, parts_of
from ftlight.data.module import DataModule
from ftlight.tasks import HOMES
from ftlight.utils import ranges
from ftlight.utils.errors import UserError
from ftlight.utils.ranges import Fraction, PositiveInt, Range, check_ranges, fault

if TYPE_CHECKING:
    from fractions import Fraction as Exact

HUGE = 10**400
# Options with numbers that have no range.
EXEMPT = {
    "labels": "names of classes, which may be any numbers",
    "token": "columns of a file, whose number is known when it is read",
    "tag": "columns of a file, whose number is known when it is read",
}


def test_bounds_hold_or_are_named() -> None:
    cases = [
        (0, Range(least=1), "at least 1"),
        (2, Range(most=1), "at most 1"),
        (0, Range(above=0, below=1), "above 0 and below 1"),
        (1, Range(least=0, below=1), "from 0 to below 1"),
        (2, Range(least=0, most=1), "from 0 to 1"),
        (2000, Range(most=1000), "at most 1,000"),
        (math.nan, Range(least=0), "at least 0 and finite"),
        (math.inf, Range(), "finite"),
        (-0.0, Range(above=0), "above 0"),
    ]

    def check(value: float, limits: Range, words: str) -> None:
        wrong = fault(Annotated[float, limits], value)
        assert wrong == f"{value} is out of range; it must be {words}"

    each(cases, check)
    assert fault(Annotated[float, Range(least=0, most=1)], 1) == ""
    digits = "a number of about 400 digits is out of range; it must be at least 1 and below "
    assert fault(PositiveInt, HUGE).startswith(digits)
    assert fault(Fraction | None, -HUGE).startswith("a number of about 400 digits is out of range")


def test_a_number_may_lie_in_the_range_of_one_type_of_several() -> None:
    limit = ranges.Count | ranges.Share | None
    assert [fault(limit, value) for value in (0, 7, 0.5, 1.0)] == [""] * 4
    assert fault(limit, 1.5) == "1.5 is out of range; it must be from 0 to 1"
    assert fault(limit, -1) == "-1 is out of range; it must be at least 0 or from 0 to 1"
    assert fault(int | str, 2) == ""
    steps = Annotated[int, Range(least=1, also=-1)]
    assert fault(steps, -1) == ""
    assert fault(steps, 0) == "0 is out of range; it must be at least 1, or -1"


class Own(DataModule):
    def __init__(
        self,
        train: str | None = None,
        rows: PositiveInt | None = 3,
        *,
        part: Fraction = 0.5,
        exact: Exact | None = None,
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.given = (rows, part, exact)


class Unranged(Own):
    def __init__(self, train: str, exact: Exact | None = None, **base: Any) -> None:
        super().__init__(train, exact=exact, **base)


def test_plain_python_refuses_too() -> None:
    cases: list[tuple[Any, str]] = [
        (lambda: TextData("a.csv", batch_size=0), r"^data\.batch_size: 0 is out of range"),
        (lambda: TextData("a.csv", batch_size=2.5), "expected a whole number, got 2.5"),
        (lambda: TextData("a.csv", max_length=2), r"^data\.max_length: 2 is out"),
        (lambda: Own("a.csv", 0), r"^data\.rows: 0 is out"),
        (lambda: Own("a.csv", rows=0, part=1.0), r"^data\.rows: 0.*\ndata\.part: 1\.0 is out"),
        (lambda: Own("a.csv", shots=0), r"^data\.shots: 0 is out"),
        (lambda: Unranged("a.csv", rows=0), r"^data\.rows: 0 is out"),
        (lambda: Trainer(patience=-1), r"^trainer\.patience: -1 is out"),
        (lambda: Trainer(accumulate_grad_batches=0), r"^trainer\.accumulate_grad_batches: 0 is"),
        (lambda: Trainer(limit_val_batches=1.5), r"^trainer\.limit_val_batches: 1\.5 is out"),
    ]

    def check(make: Any, words: str) -> None:
        with pytest.raises(UserError, match=words):
            make()

    each(cases, check)


def test_a_checked_constructor_is_as_it_was() -> None:
    names = ["self", "train", "rows", "part", "exact", "base"]
    assert list(inspect.signature(Own.__init__).parameters) == names
    assert inspect.getsource(Own.__init__).lstrip().startswith("def __init__")
    assert not hasattr(Unranged.__init__, "__wrapped__")
    data = pickle.loads(pickle.dumps(Own("a.csv", 5, exact=None)))
    assert data.given == (5, 0.5, None)
    assert Own("a.csv", None).given == (None, 0.5, None)

    class Late:
        def __init__(self, size: Nowhere = 1) -> None:  # type: ignore[name-defined] # noqa: F821
            self.size = size

    check_ranges(Late, "data")
    assert Late(-1).size == -1


def test_a_keyword_that_is_none_is_named_with_the_nearest() -> None:
    cases = [
        (TextClassification, {"learning_rate": 1e-3}, "ftlight calls it lr"),
        (TextClassification, {"unfreze": "all"}, 'did you mean "unfreeze"?'),
        (TextClassification, {"epochs": 3}, "it belongs to the trainer: max_epochs"),
        (TextClassification, {"long_txt": "cut"}, 'did you mean "long_text"?'),
        (TextData, {"texts": "a"}, 'did you mean "text"?'),
        (Trainer, {"max_epoch": 3}, 'did you mean "max_epochs"?'),
        (Trainer, {"precison": 32}, 'did you mean "precision"?'),
    ]

    def check(cls: type, options: dict[str, Any], end: str) -> None:
        given = {"backbone": "x"} if cls is TextClassification else {}
        said = rf"{cls.__name__}\(\) got an unexpected keyword argument '.*'; {re.escape(end)}$"
        with pytest.raises(TypeError, match=said):
            cls(**given, **options)

    each(cases, check)


def test_every_option_that_is_a_number_has_a_range() -> None:
    def check(name: str) -> None:
        numbers = [
            option.name
            for option in classes.describe(name).options
            for part in parts_of(option.full_type)
            if isinstance(part, Part) and part.range is None
        ]
        assert not set(numbers) - EXEMPT.keys()

    each([*HOMES, config.TRAINER, "ftlight.task.Task", "ftlight.data.module.DataModule"], check)
    told = [o for o in classes.describe(config.TRAINER).options if parts_of(o.full_type)]
    assert {"max_epochs", "devices", "limit_val_batches"} <= {o.name for o in told}
