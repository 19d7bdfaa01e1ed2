"""A callback that writes down which rows each step trains on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L


class Rows(L.Callback):
    """Appends a line to rows.jsonl before each step; with several processes each has its file.

    Args:
        folder: where the file is; the run's folder if not given.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder

    def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, batch_idx: int) -> None:
        """Appends a line: step, epoch and the numbers of the batch's rows."""
        line = {
            "step": trainer.global_step,
            "batch": batch_idx,
            "epoch": trainer.current_epoch,
            "rows": [int(row) for row in batch["index"]],
        }
        rank = f"-{trainer.global_rank}" if trainer.global_rank else ""
        with Path(self.folder or trainer.folder, f"rows{rank}.jsonl").open(
            "a", encoding="utf-8"
        ) as file:
            file.write(json.dumps(line) + "\n")
