"""Scores of classes and numbers, where torchmetrics states them otherwise: absent classes count, undefined is nan, never 0."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef, spearman_corrcoef

from ftlight.metrics.intervals import NAN, bootstrap


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Element-wise quotient, 0 where the whole is 0 (scikit-learn's ``zero_division=0``)."""
    return torch.where(whole > 0, part / whole.clamp(min=1e-300), torch.zeros_like(part))


def _averages(hit: Tensor, predicted: Tensor, actual: Tensor) -> dict[str, float]:
    """Precision, recall and F1 per class, averaged over the full label set as scikit-learn does.

    Args:
        hit: rows rightly predicted as the class ``[classes]``.
        predicted: rows predicted as the class ``[classes]``.
        actual: rows of the class ``[classes]``.
    """
    precision, recall, f1 = (
        _ratio(hit, predicted),
        _ratio(hit, actual),
        _ratio(2 * hit, predicted + actual),
    )
    return {
        "f1": f1.mean().item(),
        "f1_micro": _ratio(2 * hit.sum(), predicted.sum() + actual.sum()).item(),
        "f1_weighted": _ratio((f1 * actual).sum(), actual.sum()).item(),
        "precision": precision.mean().item(),
        "recall": recall.mean().item(),
    }


def auroc(scores: Tensor, positive: Tensor) -> float:
    """Area under the ROC curve by ranks, ties counting half; nan where a class is absent.

    Args:
        scores: ``[rows]``.
        positive: ``[rows]``, True for the positive class.

    >>> auroc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([False, False, True, True]))
    0.75
    """
    ones = int(positive.sum())
    zeros = len(positive) - ones
    if ones == 0 or zeros == 0:
        return NAN
    _, inverse, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    ranks = (last - (counts - 1) / 2)[inverse]
    return ((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros)).item()


def macro_auroc(probabilities: Tensor, members: Tensor) -> float:
    """Mean one-against-rest AUROC over the classes; nan where it is undefined for one of them.

    Args:
        probabilities: ``[rows, classes]``.
        members: bool ``[rows, classes]``.
    """
    return (
        sum(auroc(probabilities[:, c], members[:, c]) for c in range(probabilities.shape[1]))
        / probabilities.shape[1]
    )


def calibration_error(confidence: Tensor, right: Tensor, bins: int = 15) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over equal bins (Naeini et al. 2015).

    Args:
        confidence: probability of what was predicted ``[rows]``.
        right: whether it was right ``[rows]``.
        bins: number of bins.
    """
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.double).index_add_(
        0, index, right.double() - confidence.double()
    )
    return (gap.abs().sum() / len(right)).item()


def in_top(probabilities: Tensor, target: Tensor, k: int) -> float:
    """Share of rows whose class is among the ``k`` most probable; a tie with the last of them counts against it.

    >>> in_top(torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]), torch.tensor([1, 2]), 2)
    0.5
    """
    own = probabilities.gather(1, target[:, None])
    return ((~(probabilities < own)).sum(1) <= k).double().mean().item()


def single_label(probabilities: Tensor, target: Tensor) -> tuple[dict[str, float], Tensor]:
    """Scores of one label per row.

    Args:
        probabilities: ``[rows, classes]``.
        target: class of each row ``[rows]``.

    Returns:
        Name to value (precision, recall and f1 are macro averages over all classes), and the confusion matrix
        ``[actual, predicted]``.
    """
    classes = probabilities.shape[1]
    confidence, predicted = probabilities.max(1)
    matrix = (
        torch.bincount(target * classes + predicted, minlength=classes**2)
        .reshape(classes, classes)
        .double()
    )
    hit, predictions, actual, rows = matrix.diag(), matrix.sum(0), matrix.sum(1), matrix.sum()
    covariance = hit.sum() * rows - (predictions * actual).sum()
    spread = ((rows**2 - (predictions**2).sum()) * (rows**2 - (actual**2).sum())).sqrt()
    members = torch.nn.functional.one_hot(target, classes).bool()
    top = {"accuracy_top5": in_top(probabilities, target, 5)} if classes > 5 else {}
    values = {
        "accuracy": (hit.sum() / rows).item(),
        **top,
        **_averages(hit, predictions, actual),
        "mcc": (covariance / spread).item() if spread > 0 else 0.0,
        "auroc": macro_auroc(probabilities, members),
        "calibration_error": calibration_error(confidence, predicted == target),
    }
    return values, matrix.long()


def multi_label(probabilities: Tensor, target: Tensor) -> dict[str, float]:
    """Scores of several labels per row, a label being predicted from probability 0.5 on.

    Args:
        probabilities: ``[rows, labels]``.
        target: 0 or 1 ``[rows, labels]``.
    """
    predicted, actual = probabilities >= 0.5, target.bool()
    hit = (predicted & actual).sum(0).double()
    confidence = torch.where(predicted, probabilities, 1 - probabilities)
    return {
        "accuracy": (predicted == actual).all(1).double().mean().item(),  # of whole rows
        **_averages(hit, predicted.sum(0).double(), actual.sum(0).double()),
        "auroc": macro_auroc(probabilities, actual),
        "calibration_error": calibration_error(
            confidence.flatten(), (predicted == actual).flatten()
        ),
    }


def regression(values: Tensor, target: Tensor) -> dict[str, float]:
    """Pearson and Spearman correlation, mean absolute and root mean squared error, of ``[rows]`` each."""
    values, target = values.double(), target.double()
    defined = (
        len(target) > 1 and bool(values.min() < values.max()) and bool(target.min() < target.max())
    )
    return {
        "pearson": pearson_corrcoef(values, target).item() if defined else NAN,
        "spearman": spearman_corrcoef(values, target).item() if defined else NAN,
        "mae": (values - target).abs().mean().item(),
        "rmse": (values - target).square().mean().sqrt().item(),
    }


def bootstrap_f1(probabilities: Tensor, target: Tensor, draws: int = 1000) -> tuple[float, float]:
    """95 % interval of the micro F1 of several labels per row."""
    predicted, actual = (probabilities >= 0.5).double(), target.double()
    parts = torch.stack([2 * (predicted * actual).sum(1), predicted.sum(1) + actual.sum(1)], 1)
    return bootstrap(parts, lambda sums: float(sums[0] / sums[1].clamp(min=1)), draws)
