from __future__ import annotations

import torch

from ftlight.metrics import folds


def test_a_metric_of_folds_is_pooled_or_the_mean_by_rows() -> None:
    found = folds.score([0.5, 0.7], [10, 30], 0.66, (0.5, 0.8))
    assert found == (0.66, 0.5, 0.8, True, 0.6, found.sd, [0.5, 0.7])
    assert abs(found.sd - 0.1 * 2**0.5) < 1e-12
    mean = folds.score([0.5, 0.7], [10, 30], None, (0.5, 0.8))
    assert abs(mean.value - 0.65) < 1e-12
    assert (mean.low, mean.high, mean.pooled) == (None, None, False)


def test_rows_of_folds_are_joined_whatever_their_lengths() -> None:
    assert folds.joined([torch.ones(2, 3), torch.zeros(1, 3)]).shape == (3, 3)
    ragged = folds.joined([[torch.ones(2)], [torch.ones(5), torch.ones(1)]])
    assert [len(row) for row in ragged] == [2, 5, 1]


def test_the_run_on_all_rows_makes_the_passes_of_the_median_fold() -> None:
    assert folds.steps_on_all([40, 10, 1000], [80, 80, 80], 100) == 50
    assert folds.steps_on_all([30, 30, 30], [30, 20, 30], 30) == 30
