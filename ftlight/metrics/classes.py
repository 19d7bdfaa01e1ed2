"""Scores of classification, in float64.

torchmetrics computes these in float32, leaves absent classes out of macro averages, and returns 0
for an undefined AUROC. Here absent classes count, and what is undefined is nan. The tests compare
with scikit-learn and with torchmetrics' values per class.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ftlight.metrics.calibration import calibration_error
from ftlight.metrics.intervals import CELLS, NAN, UNIT, around, bootstrap


def _ratio(part: Tensor, total: Tensor) -> Tensor:
    """Element-wise quotient; 0 if the divisor is 0, as scikit-learn's ``zero_division=0``."""
    return torch.where(total > 0, part / total.clamp(min=1e-300), torch.zeros_like(part))


def _averages(hit: Tensor, predicted: Tensor, actual: Tensor) -> dict[str, float]:
    """Averages precision, recall and F1 over all classes, as scikit-learn does if given ``labels``.

    Args:
        hit: rows correctly predicted as each class ``[classes]``.
        predicted: rows predicted as each class ``[classes]``.
        actual: rows of each class ``[classes]``.
    """
    precision = _ratio(hit, predicted)
    recall = _ratio(hit, actual)
    f1 = _ratio(2 * hit, predicted + actual)
    return {
        "f1": f1.mean().item(),
        "f1_micro": _ratio(2 * hit.sum(), predicted.sum() + actual.sum()).item(),
        "f1_weighted": _ratio((f1 * actual).sum(), actual.sum()).item(),
        "precision": precision.mean().item(),
        "recall": recall.mean().item(),
    }


def by_class(
    hit: Tensor, predicted: Tensor, actual: Tensor, names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of each class, as scikit-learn's report has them.

    What is undefined is 0, as there.

    Args:
        hit: rows (or spans) correctly predicted as each class ``[classes]``.
        predicted: those predicted as each class ``[classes]``.
        actual: those of each class ``[classes]``.
        names: the classes in order.

    >>> two = torch.tensor([2.0, 1.0])
    >>> by_class(two, torch.tensor([4.0, 1.0]), torch.tensor([2.0, 2.0]), ["a", "b"])["a"]
    {'precision': 0.5, 'recall': 1.0, 'f1': 0.6666666666666666, 'support': 2}
    """
    hit, predicted, actual = hit.double(), predicted.double(), actual.double()
    precision, recall = _ratio(hit, predicted), _ratio(hit, actual)
    f1 = _ratio(2 * hit, predicted + actual)
    report = {}
    for i, name in enumerate(names):
        shares = {"precision": precision[i].item(), "recall": recall[i].item(), "f1": f1[i].item()}
        report[name] = {**shares, "support": int(actual[i])}
    return report


def auroc(scores: Tensor, positive: Tensor) -> float:
    """Area under the ROC curve by ranks, ties counting half; nan if a class is absent.

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
    """Mean one-versus-rest AUROC over the classes; nan if it is undefined for one of them.

    Args:
        probabilities: ``[rows, classes]``.
        members: whether a row is of a class, bool ``[rows, classes]``.
    """
    classes = probabilities.shape[1]
    return sum(auroc(probabilities[:, c], members[:, c]) for c in range(classes)) / classes


def in_top(probabilities: Tensor, target: Tensor, k: int) -> float:
    """Share of rows with their class among the ``k`` most probable; ties count against it.

    >>> in_top(torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]), torch.tensor([1, 2]), 2)
    0.5
    """
    actual = probabilities.gather(1, target[:, None])
    return ((~(probabilities < actual)).sum(1) <= k).double().mean().item()


def single_label(probabilities: Tensor, target: Tensor) -> tuple[dict[str, float], Tensor]:
    """Scores a task with one label per row.

    Args:
        probabilities: ``[rows, classes]``.
        target: class of each row ``[rows]``.

    Returns:
        Values by name (precision, recall and f1 are macro averages over all classes), and the
        confusion matrix ``[actual, predicted]``.
    """
    classes = probabilities.shape[1]
    confidence, predicted = probabilities.max(1)
    cells = torch.bincount(target * classes + predicted, minlength=classes**2)
    matrix = cells.reshape(classes, classes).double()
    hit, rows = matrix.diag(), matrix.sum()
    predictions, actual = matrix.sum(0), matrix.sum(1)
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
    """Scores a task with several labels per row; those of probability 0.5 or more are predicted.

    Args:
        probabilities: ``[rows, labels]``.
        target: 0 or 1 ``[rows, labels]``.
    """
    predicted, actual = probabilities >= 0.5, target.bool()
    right = predicted == actual
    confidence = torch.where(predicted, probabilities, 1 - probabilities)
    return {
        "accuracy": right.all(1).double().mean().item(),  # a row counts if all its labels are right
        **_averages(*counts_of_labels(probabilities, target)),
        "auroc": macro_auroc(probabilities, actual),
        "calibration_error": calibration_error(confidence.flatten(), right.flatten()),
    }


def counts_of_labels(probabilities: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows with each label: correctly predicted, predicted and actual, ``double [labels]`` each.

    Args:
        probabilities: ``[rows, labels]``; those of 0.5 or more are predicted.
        target: 0 or 1 ``[rows, labels]``.
    """
    predicted, actual = probabilities >= 0.5, target.bool()
    hit = (predicted & actual).sum(0)
    return hit.double(), predicted.sum(0).double(), actual.sum(0).double()


def row_f1(probabilities: Tensor, target: Tensor) -> Tensor:
    """F1 of each row's labels ``double [rows]``; 1 if it has none, and none is predicted.

    Args:
        probabilities: ``[rows, labels]``; those of 0.5 or more are predicted.
        target: 0 or 1 ``[rows, labels]``.

    >>> row_f1(torch.tensor([[0.9, 0.9], [0.1, 0.1]]), torch.tensor([[1, 0], [0, 0]]))
    tensor([0.6667, 1.0000], dtype=torch.float64)
    """
    predicted, actual = probabilities >= 0.5, target.bool()
    return f1_of_rows((predicted & actual).sum(1), predicted.sum(1), actual.sum(1))


def f1_of_rows(right: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
    """F1 of each row from its counts ``[rows]``; 1 if nothing is there, and nothing predicted."""
    both = (predicted + actual).double()
    return torch.where(both > 0, 2 * right.double() / both.clamp(min=1), 1.0)


def bootstrap_f1(probabilities: Tensor, target: Tensor, draws: int = 1000) -> tuple[float, float]:
    """95 % interval of the micro F1 of a task with several labels per row."""
    predicted, actual = (probabilities >= 0.5).double(), target.double()
    parts = torch.stack([2 * (predicted * actual).sum(1), predicted.sum(1) + actual.sum(1)], 1)
    return bootstrap(parts, lambda sums: float(sums[0] / sums[1].clamp(min=1)), draws, UNIT)


def bootstrap_macro_f1(confusion: Tensor, draws: int = 1000) -> tuple[float, float]:
    """95 % interval of the macro F1 of a task with one label per row; nan for no rows.

    Args:
        confusion: rows by class, ``int [actual, predicted]``.
        draws: number of resamples.
    """
    hit, predicted, actual = confusion.diag(), confusion.sum(0), confusion.sum(1)
    score = _ratio(2 * hit.double(), (predicted + actual).double()).mean().item()
    rows = int(confusion.sum())
    if not rows:
        return NAN, NAN
    return around(score, resample_macro_f1(confusion, draws), rows, UNIT)


def resample_macro_f1(confusion: Tensor, draws: int) -> Tensor:
    """Macro F1 of resamples of the rows of a confusion matrix ``double [draws]``.

    They are multinomial draws of its cells that have rows: no more than there are rows, however
    many classes.
    """
    actual, predicted = confusion.nonzero(as_tuple=True)
    counts, classes = confusion[actual, predicted].double().numpy(), len(confusion)
    random, at_once = np.random.default_rng(0), max(1, CELLS // max(classes, len(counts)))
    scores = []
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start)
        drawn = random.multinomial(int(counts.sum()), counts / counts.sum(), size)
        cells = torch.from_numpy(drawn).double()
        scores.append(_macro_f1(cells, actual, predicted, classes))
    return torch.cat(scores)


def _macro_f1(cells: Tensor, actual: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Macro F1 ``[draws]`` from the rows ``[draws, cells]`` in cells of a confusion matrix."""
    zeros, right = cells.new_zeros(len(cells), classes), actual == predicted
    hit = zeros.index_add(1, actual[right], cells[:, right])
    both = zeros.index_add(1, actual, cells).index_add(1, predicted, cells)
    return _ratio(2 * hit, both).mean(1)


def rare_classes(confusion: Tensor, least: int = 10) -> Tensor:
    """Numbers of the classes with fewer rows than ``least``: too few to trust a macro average.

    >>> rare_classes(torch.tensor([[9, 3], [2, 7]])).tolist()
    [1]
    """
    return torch.nonzero(confusion.sum(1) < least).flatten()
