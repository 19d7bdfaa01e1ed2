"""A goal such as ``accuracy >= .9``, and whether metrics reach it."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import NamedTuple

from ftlight.utils.errors import UserError, unknown

SIGNS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


class Goal(NamedTuple):
    """What a metric is to reach.

    Attributes:
        metric: its name.
        sign: how it is compared.
        value: with what.
    """

    metric: str
    sign: str
    value: float

    def is_reached(self, metrics: Mapping[str, float]) -> bool:
        """Whether metrics reach it.

        Raises:
            UserError: it is not among them.
        """
        if self.metric not in metrics:
            raise UserError(unknown("--goal: no metric", self.metric, metrics, "metrics"))
        return bool(SIGNS[self.sign](metrics[self.metric], self.value))


def read(text: str) -> Goal:
    """Reads a goal.

    Raises:
        UserError: it is none.

    >>> read("accuracy >= .9"), read("loss<0.2").sign
    (Goal(metric='accuracy', sign='>=', value=0.9), '<')
    """
    match = re.fullmatch(r"\s*([\w/]+)\s*(>=|<=|>|<)\s*([-+.\d]+(?:e[-+]?\d+)?)\s*%?\s*", text)
    try:
        value = float(match[3]) if match else None
    except ValueError:
        value = None
    if match is None or value is None:
        raise UserError(f'--goal: expected such as "accuracy >= 0.9", got {text}')
    return Goal(match[1].removeprefix("val/"), match[2], value / 100 if "%" in text else value)
