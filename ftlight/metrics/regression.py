"""Scores of predicted numbers, in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef, spearman_corrcoef

from ftlight.metrics.intervals import NAN, bootstrap


def scores(values: Tensor, target: Tensor) -> dict[str, float]:
    """Coefficient of determination, correlations, mean absolute and root mean squared error.

    r2 is the share of the targets' variance that is explained: 1 is perfect, 0 as good as their
    mean. Unlike a correlation it sees whether predictions are of the right size.

    Args:
        values: predictions ``[rows]``.
        target: true values ``[rows]``.

    Returns:
        Values by name; r2 of constant targets and a correlation with a constant are nan.
    """
    values, target = values.double(), target.double()
    constant, flat = (len(x) < 2 or bool(x.min() == x.max()) for x in (target, values))
    squares, spread = (values - target).square(), (target - target.mean()).square()
    defined = not (constant or flat)
    return {
        "r2": NAN if constant else (1 - squares.sum() / spread.sum()).item(),
        "pearson": pearson_corrcoef(values, target).item() if defined else NAN,
        "spearman": spearman_corrcoef(values, target).item() if defined else NAN,
        "mae": (values - target).abs().mean().item(),
        "rmse": squares.mean().sqrt().item(),
    }


def parts_of(values: Tensor, target: Tensor) -> Tensor:
    """Terms by row of :func:`r2_of` and :func:`pearson_of`, ``double [rows, 7]``.

    They are 1, value, target, both squared, their product, and the squared error.
    """
    values, target = values.double(), target.double()
    # centred, so that the sums of squares stay small
    x, y = values - values.mean(), target - target.mean()
    errors = (values - target).square()
    return torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y, errors], 1)


def r2_of(sums: Tensor) -> float:
    """Coefficient of determination from a sum ``[7]`` of rows of :func:`parts_of`."""
    return 1 - float(sums[-1]) / _moments(sums)[1]


def pearson_of(sums: Tensor) -> float:
    """Pearson's correlation from a sum ``[7]`` of rows of :func:`parts_of`."""
    of_x, of_y, products = _moments(sums)
    return products / math.sqrt(of_x * of_y)


def _moments(sums: Tensor) -> tuple[float, float, float]:
    """Sums of squares of x and y about their means, nan if there is no spread, and of products."""
    rows, x, y, xx, yy, xy, _ = sums.tolist()
    of_x, of_y = xx - x * x / rows, yy - y * y / rows
    of_x, of_y = (v if v > 1e-12 * w else NAN for v, w in ((of_x, xx), (of_y, yy)))
    return of_x, of_y, xy - x * y / rows


def bootstrap_ends(
    values: Tensor, target: Tensor, draws: int = 1000
) -> dict[str, tuple[float, float]]:
    """95 % intervals of r2 and of Pearson's correlation, by name.

    The correlation's is not Fisher's (1915), which covers too seldom if tails are heavy.
    """
    parts = parts_of(values, target)
    return {
        "r2": bootstrap(parts, r2_of, draws, (-math.inf, 1.0)),
        "pearson": bootstrap(parts, pearson_of, draws, (-1.0, 1.0)),
    }
