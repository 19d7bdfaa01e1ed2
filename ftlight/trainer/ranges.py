"""Ranges of the trainer's options, also of Lightning's own: it checks them late, or not at all.

Its steps divide by accumulate_grad_batches: 0, for one, is a traceback at the first batch.
"""

from __future__ import annotations

from typing import Annotated, Any

from ftlight.utils.ranges import Count, PositiveInt, PositiveShare, Range, Share

Steps = Annotated[int, Range(least=1, also=-1)]  # or epochs; -1 for no limit
Limit = Count | Share  # of batches: a number of them, or a share
LIGHTNING: dict[str, Any] = {
    "devices": list[int] | str | Annotated[int, Range(least=1, most=1000, also=-1)],
    "num_nodes": PositiveInt,
    "fast_dev_run": Count | bool,
    "min_epochs": Count | None,
    "min_steps": Count | None,
    "limit_train_batches": Limit | None,
    "limit_val_batches": Limit | None,
    "limit_test_batches": Limit | None,
    "limit_predict_batches": Limit | None,
    "overfit_batches": Limit,
    "val_check_interval": PositiveInt | PositiveShare | str | dict[str, int] | None,
    "check_val_every_n_epoch": PositiveInt | None,
    "num_sanity_val_steps": Annotated[int, Range(least=-1)] | None,
    "log_every_n_steps": Count | None,
    "accumulate_grad_batches": PositiveInt,
    "reload_dataloaders_every_n_epochs": Count,
}
