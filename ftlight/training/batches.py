"""The rule of ``data.batch_size: auto``: which size the rows a second of several speak for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

Scaling = Literal["none", "sqrt"]  # of a rate, by the rows of an optimizer step
USUAL = 32  # rows of an optimizer step that the default rates were measured with
LEAST, MOST = 8, 1024  # rows of a batch that are tried
STEPS = 20  # of an epoch, at least
NEAR = 0.9  # of the most rows a second, from which a smaller batch is taken
GAIN = 1.05  # times the rows a second of smaller batches that a larger one must reach, or the next
FULL = 0.9  # of a device's memory that may be taken


def sizes(rows: int, processes: int = 1) -> list[int]:
    """The sizes to try: doubled while an epoch has 20 steps.

    Args:
        rows: rows of train.
        processes: how many processes take a batch each, in a step.

    >>> sizes(1000), sizes(50), sizes(1000, processes=4)
    ([8, 16, 32], [8], [8])
    """
    count = int(math.log2(max(1, min(MOST, rows // (STEPS * processes)) / LEAST)))
    return [LEAST * 2**i for i in range(count + 1)]


def is_past(speeds: Sequence[float]) -> bool:
    """Whether larger sizes need not be tried: two in a row were hardly faster than those before.

    Args:
        speeds: rows a second by size, smallest first.

    >>> is_past([10, 20, 20.5]), is_past([10, 20, 20.5, 20.6])
    (False, True)
    """
    return len(speeds) > 2 and max(speeds[-2:]) < GAIN * max(speeds[:-2])


def best(speeds: Mapping[int, float]) -> int:
    """The smallest size that is within a tenth of the fastest: it takes more steps in an epoch.

    Args:
        speeds: rows a second by size.

    >>> best({8: 50.0, 16: 62.0, 32: 66.0})
    16
    """
    enough = NEAR * max(speeds.values())
    return min(size for size, speed in speeds.items() if speed >= enough)


def scale(rate: float, rows: int) -> float:
    """A rate for optimizer steps of 32 rows, for others: it follows the square root of the rows.

    That is the rule for Adam (Malladi et al. 2022, "On the SDEs and scaling rules for adaptive
    gradient algorithms", arXiv:2205.10287).

    >>> scale(1e-3, 128), scale(1e-3, 8)
    (0.002, 0.0005)
    """
    return rate * math.sqrt(rows / USUAL)


def has_room(peak: int, weights: int, total: int) -> bool:
    """Whether a batch leaves room on a device for the two numbers that Adam keeps of a weight.

    Args:
        peak: most bytes that were taken.
        weights: number of weights that train.
        total: bytes of the device.

    >>> has_room(8_000, 100, 10_000), has_room(8_000, 200, 10_000)
    (True, False)
    """
    return peak + 8 * weights <= FULL * total
