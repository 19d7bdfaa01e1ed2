"""Ranges of the trainer's options, also of Lightning's own: it checks them late, or not at all.

Its steps divide by accumulate_grad_batches: 0, for one, is a traceback at the first batch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from ftlight.utils.ranges import Count, PositiveInt, PositiveShare, Range, Share

NoLimit = Literal[-1]
Limit = Count | Share  # of batches: a number of them, or a share
LIGHTNING: dict[str, Any] = {
    "devices": list[int] | str | NoLimit | Annotated[int, Range(least=1, most=1000)],
    "num_nodes": PositiveInt,
    "fast_dev_run": bool | Count,
    "min_epochs": Count | None,
    "min_steps": Count | None,
    "limit_train_batches": Limit | None,
    "limit_val_batches": Limit | None,
    "limit_test_batches": Limit | None,
    "limit_predict_batches": Limit | None,
    "overfit_batches": Limit,
    "val_check_interval": PositiveInt | PositiveShare | str | dict[str, int] | None,
    "check_val_every_n_epoch": PositiveInt | None,
    "num_sanity_val_steps": NoLimit | Count | None,
    "log_every_n_steps": Count | None,
    "accumulate_grad_batches": PositiveInt,
    "reload_dataloaders_every_n_epochs": Count,
}
