"""The time limit of a run: how much of it is used, and the steps that were planned for it."""

from __future__ import annotations

import dataclasses
import re
import time
from datetime import timedelta
from typing import Any

from ftlight.utils.errors import UserError
from ftlight.utils.format import span

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
UNPLANNED = 10**7  # steps of a run before they are planned


def seconds_of(text: str) -> float | None:
    """Seconds of a time such as 30s, 10m or 2h; None if it is none.

    >>> seconds_of("10m"), seconds_of("1.5h"), seconds_of("soon")
    (600.0, 5400.0, None)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    return float(match[1]) * UNITS[match[2]] if match else None


def limit(value: str | timedelta | dict[str, int] | None) -> timedelta | None:
    """The time limit of a run.

    Args:
        value: a time such as 10m, DD:HH:MM:SS as Lightning has it, or the arguments of a timedelta.

    Raises:
        UserError: it is none of these, or not above 0.

    >>> limit("10m"), limit("00:00:10:00") == limit("600s") == limit({"minutes": 10})
    (datetime.timedelta(seconds=600), True)
    """
    found = value if isinstance(value, timedelta) else None
    if isinstance(value, str):
        parts = re.fullmatch(r"(\d+):(\d\d):(\d\d):(\d\d)", value.strip())
        seconds = seconds_of(value)
        if parts:
            days, hours, minutes, rest = map(int, parts.groups())
            found = timedelta(days=days, hours=hours, minutes=minutes, seconds=rest)
        elif seconds is not None:
            found = timedelta(seconds=seconds)
    elif isinstance(value, dict) and value.keys() <= {
        "weeks",
        "days",
        "hours",
        "minutes",
        "seconds",
    }:
        found = timedelta(**value)
    if value is not None and (found is None or found <= timedelta()):
        raise UserError(
            f"trainer.max_time (--budget): {value} is not how long a run may take; give a time"
            " (90s, 10m, 2h) or DD:HH:MM:SS"
        )
    return found


@dataclasses.dataclass
class Budget:
    """The time that a run may take, and what of it is known.

    Attributes:
        seconds: the limit.
        begun: ``time.monotonic()`` at which this process began with the run.
        before: seconds that earlier processes used.
        totals: optimizer steps from which on a total holds, and that total; empty before the plan.
        rate: seconds of a unit of work, of a validation, and of a pass of all layers forward over
            training and validation rows, as planned.
        reserve: seconds that are left for the test and the end of the run.
        test: seconds of these for the test.
        about: seconds that training takes by the plan; 0 if it was made in another process.
    """

    seconds: float
    begun: float = dataclasses.field(default_factory=time.monotonic)
    before: float = 0.0
    totals: list[list[int]] = dataclasses.field(default_factory=list)
    rate: list[float] = dataclasses.field(default_factory=list)
    reserve: float = 0.0
    test: float = 0.0
    about: float = 0.0

    @property
    def used(self) -> float:
        """Seconds that the run has taken so far."""
        return self.before + time.monotonic() - self.begun

    @property
    def first(self) -> int:
        """The total as first planned; -1 before."""
        return self.totals[0][1] if self.totals else -1

    @property
    def total(self) -> int:
        """The total that holds now; -1 before there is a plan."""
        return self.totals[-1][1] if self.totals else -1

    def words(self, tests: bool) -> str:
        """The limit and the plan in words.

        Args:
            tests: whether a test follows.

        >>> Budget(600.0).words(tests=True)
        'at most 10m'
        >>> Budget(600.0, totals=[[0, 840]], about=530.0).words(tests=True)
        '10m: 840 steps, about 8m 50s, then the test'
        """
        if not self.totals:
            return f"at most {span(self.seconds)}"
        steps = f"{self.total:,} step{'s' if self.total > 1 else ''}"
        about = f", about {span(self.about)}" if self.about else ""
        test = ", then the test" if tests else ""
        return f"{span(self.seconds)}: {steps}{about}{test}"

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as plain values; empty before there is a plan."""
        if not self.totals:
            return {}
        names = ("seconds", "totals", "rate", "reserve", "test")
        return {**{name: getattr(self, name) for name in names}, "used": self.used}

    def take(self, state: dict[str, Any]) -> None:
        """Goes on with the plan of a checkpoint; with another limit only with what was used."""
        self.before = float(state["used"])
        if float(state["seconds"]) == self.seconds:
            self.totals = [[int(step), int(total)] for step, total in state["totals"]]
            self.rate = [float(value) for value in state["rate"]]
            self.reserve, self.test = float(state["reserve"]), float(state["test"])
