"""What more data would give: the learning curve error = a + b n^-c, and what it says of 2 and 4 n.

The form is that of Cortes et al. (1993, "Learning curves: asymptotic values and rate of
convergence") and Hestness et al. (2017, arXiv:1712.00409).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEAST = 3  # sizes that a curve of three numbers takes
EXPONENTS = np.geomspace(0.05, 2.0, 60)  # of c
ENDS = (0.025, 0.975)
MOST = 2.0  # factor that an interval is widened by, at most


class Curve(NamedTuple):
    """A learning curve: the error of ``n`` rows is ``a + b * n ** -c``."""

    a: float
    b: float
    c: float

    def error(self, rows: float) -> float:
        """The error of so many rows."""
        return self.a + self.b * rows**-self.c


class Gain(NamedTuple):
    """A gain in the score with its 95 % interval."""

    value: float
    low: float
    high: float


class Forecast(NamedTuple):
    """What a learning curve says of more rows.

    Attributes:
        rows: rows that there are.
        curve: the curve of all sizes.
        twice: what twice as many would give, by curves.
        four_times: what four times as many would give.
        last: what the last doubling gave, as measured.
    """

    rows: int
    curve: Curve
    twice: Gain
    four_times: Gain
    last: Gain

    @property
    def helps(self) -> bool:
        """Whether more data help: the last doubling did, by more than chance."""
        return self.last.low > 0 and self.twice.low > 0


def sizes_of(rows: int, least: int, most: int = 6) -> list[int]:
    """Numbers of rows to measure a curve at, each twice the one before, the last one all.

    >>> sizes_of(1000, 60)
    [62, 125, 250, 500, 1000]
    """
    halves = [rows >> power for power in range(most)]
    return sorted(size for size in halves if size >= max(2, least)) or [rows]


def fit(sizes: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Fits curves by least squares of their relative errors, with a and b at least 0.

    Args:
        sizes: numbers of rows ``[sizes]``.
        errors: mean error of each ``[curves, sizes]``.

    Returns:
        a, b and c of each curve, ``float [curves, 3]``.

    >>> sizes = np.array([100.0, 200, 400, 800])
    >>> fit(sizes, (0.1 + 2 * sizes**-0.5)[None]).round(1).tolist()
    [[0.1, 2.0, 0.5]]
    """
    weights = 1 / np.square(np.maximum(np.abs(errors), 1e-6))
    total = weights.sum(1)
    mean = (weights * errors).sum(1) / total
    best = np.full(len(errors), np.inf)
    found = np.zeros((len(errors), 3))
    for c in EXPONENTS:
        x = (sizes / sizes[-1]) ** -c
        middle = weights @ x / total
        apart = x - middle[:, None]
        slope = (weights * apart * errors).sum(1) / (weights * apart**2).sum(1)
        through_zero = (weights * x * errors).sum(1) / (weights * x**2).sum(1)
        b = np.maximum(slope, 0.0)
        a = mean - b * middle
        b = np.where(a < 0, np.maximum(through_zero, 0.0), b)
        a = np.maximum(a, 0.0)
        rest = (weights * np.square(errors - a[:, None] - b[:, None] * x)).sum(1)
        is_best = rest < best
        found[is_best] = np.stack([a, b * sizes[-1] ** c, np.full(len(a), c)], 1)[is_best]
        best = np.minimum(best, rest)
    return found


def forecast(
    sizes: Sequence[int], errors: Sequence[np.ndarray], draws: int = 1000, seed: int = 0
) -> Forecast | None:
    """What twice and four times the rows would give.

    A resample draws the rows measured, the same ones at each size; the draws of rows to learn; and
    how many of the largest sizes the curve is fitted to, at least three, since small sizes may
    follow another one. A size of a single draw has the spread of those of the largest size that
    has several, less as the root of the number of rows. The interval is wider by the factor that
    the curve of all sizes but the last is wrong by on the last doubling, by 2 if there is none.

    Args:
        sizes: numbers of rows learned, rising.
        errors: of each size the error of each row, at least 0 on average, ``[draws, rows]``.
        draws: number of resamples.
        seed: seed of the resamples.

    Returns:
        None if there are fewer than three sizes.
    """
    if len(sizes) < LEAST:
        return None
    random, known = np.random.default_rng(seed), np.asarray(sizes, float)
    resampled = _resampled(known, errors, draws, random)
    kept = random.integers(LEAST, len(sizes) + 1, size=draws)
    curves = np.empty((draws, 3))
    for count in range(LEAST, len(sizes) + 1):
        chosen = kept == count
        curves[chosen] = fit(known[-count:], resampled[chosen, -count:])
    means = np.array([of_size.mean() for of_size in errors])
    factor = _wrong_by(known, means)
    last = np.quantile(resampled[:, -2] - resampled[:, -1], ENDS).tolist()
    return Forecast(
        int(sizes[-1]),
        Curve(*fit(known, means[None])[0].tolist()),
        _between(_gains(curves, known[-1], 2), factor),
        _between(_gains(curves, known[-1], 4), factor),
        Gain(float(means[-2] - means[-1]), *last),
    )


def _resampled(
    sizes: np.ndarray, errors: Sequence[np.ndarray], draws: int, random: np.random.Generator
) -> np.ndarray:
    """Mean errors of resamples, ``float [draws, sizes]``."""
    rows, spreads = errors[0].shape[1], _spreads(sizes, errors)
    found = np.empty((draws, len(sizes)))
    for i in range(draws):
        times = np.bincount(random.integers(rows, size=rows), minlength=rows) / rows
        for at, of_size in enumerate(errors):
            chosen = random.integers(len(of_size), size=len(of_size))
            extra = spreads[at] * random.standard_normal() if len(of_size) == 1 else 0.0
            found[i, at] = (of_size[chosen] @ times).mean() + extra
    return found


def _gains(curves: np.ndarray, rows: float, times: float) -> np.ndarray:
    """What so many times the rows give by curves ``[curves, 3]``."""
    gains: np.ndarray = curves[:, 1] * (rows ** -curves[:, 2] - (times * rows) ** -curves[:, 2])
    return gains


def _between(gains: np.ndarray, factor: float) -> Gain:
    """The median of gains with an interval that is wider by a factor."""
    low, middle, high = np.quantile(gains, [ENDS[0], 0.5, ENDS[1]]).tolist()
    return Gain(middle, low / factor, high * factor)


def _wrong_by(sizes: np.ndarray, means: np.ndarray) -> float:
    """The factor, at least 1, by which a curve without the last size misses the last doubling."""
    if len(sizes) <= LEAST:
        return MOST
    told = float(_gains(fit(sizes[:-1], means[None, :-1]), sizes[-2], 2)[0])
    gave = float(means[-2] - means[-1])
    if min(told, gave) <= 0:
        return MOST
    return min(MOST, max(told / gave, gave / told))


def _spreads(sizes: np.ndarray, errors: Sequence[np.ndarray]) -> np.ndarray:
    """Standard deviation over draws of rows to learn, of each size."""
    several = [i for i, of_size in enumerate(errors) if len(of_size) > 1]
    if not several:
        return np.zeros(len(sizes))
    largest = several[-1]
    own = errors[largest].mean(1).std(ddof=1)
    return own * np.sqrt(sizes[largest] / sizes)


def sentence(found: Forecast, is_share: bool) -> str:
    """What a forecast says, in a sentence.

    Args:
        found: the forecast.
        is_share: whether the score is a share, which is told in points of a hundredth.

    >>> gains = Gain(0.008, 0.002, 0.014), Gain(0.013, 0.003, 0.025), Gain(0.012, 0.004, 0.02)
    >>> sentence(Forecast(1000, Curve(0.05, 2.0, 0.5), *gains), True)
    'more data help: twice the data would give about +0.8 points (0.2 to 1.4)'
    """
    twice, last = (_shown(gain, is_share) for gain in (found.twice, found.last))
    said = f"twice the data would give about {twice}"
    if found.helps:
        return f"more data help: {said}"
    return f"whether more data help is not clear: {said}; the last doubling gave {last}"


def _shown(gain: Gain, is_share: bool) -> str:
    if is_share:
        value, low, high = (f"{100 * end:.1f}" for end in gain)
    else:
        value, low, high = (f"{end:.3g}" for end in gain)
    sign = "" if value.startswith("-") else "+"
    return f"{sign}{value}{' points' if is_share else ''} ({low} to {high})"
