"""How familiar new rows look, beside what a run was trained on: told while they are predicted."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ftlight.evidence import neighbours
from ftlight.freezing.vectors import linear_head
from ftlight.models.windows import pooled
from ftlight.task import Task
from ftlight.utils import arrays
from ftlight.utils.atomic import atomic_write
from ftlight.utils.errors import UserError

log = logging.getLogger(__name__)
NAME = "familiar.npz"
REMEDY = "remove it, and new rows are no longer compared with those of training"
MOST = 2000  # rows of train that are kept
UNUSUAL = 0.01  # share of train's own rows that are less familiar


def keep(task: Task, folder: Path) -> None:
    """Keeps in a run what its head was solved on, up to 2,000 rows, if nothing else was trained.

    Args:
        task: the task, trained.
        folder: folder of the run.
    """
    states = task.solved_on
    if states is None or task.schedule != "head" or len(states) <= neighbours.STRANGER:
        return
    chosen = np.linspace(0, len(states) - 1, min(len(states), MOST)).astype(int)
    vectors = normalize(states[torch.from_numpy(chosen)].float())
    usual = neighbours.familiarity(vectors).quantile(UNUSUAL)
    try:
        with atomic_write(folder / NAME) as file:
            written: Any = {"vectors": vectors.half().numpy(), "usual": usual.numpy()}
            np.savez(file, **written)
    except OSError as error:
        log.info("how familiar new rows look will not be told: %s", error.strerror)


class Familiar(L.Callback):
    """Counts the rows of a prediction that look unlike all that a run was trained on.

    Args:
        path: the file that :func:`keep` wrote.

    Raises:
        UserError: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        kept = arrays.read(path, REMEDY)
        try:
            self.train = torch.from_numpy(kept["vectors"]).float()
            self.usual = float(kept["usual"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged; {REMEDY}") from error
        self.rows = self.strange = 0
        self.seen: list[Tensor] = []  # what the head takes in of a batch
        self.handle: Any = None

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks at what the head takes in."""
        assert isinstance(pl_module, Task)
        layer = linear_head(pl_module.model)
        if isinstance(layer, nn.Linear):
            self.handle = layer.register_forward_pre_hook(self._see)

    def _see(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Notes vectors like those of training; a layer that runs on tokens has others."""
        states = inputs[0]
        if states.ndim == 2 and states.shape[1] == self.train.shape[1]:
            self.seen.append(states)

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *at: int
    ) -> None:
        """Counts rows; of several windows by their mean, as in training."""
        if not self.seen:
            return
        states, self.seen = torch.cat(self.seen), []
        if "windows" in batch:
            states = pooled(states, batch["windows"], "mean")
        familiar = neighbours.familiarity(normalize(states.float().cpu()), self.train)
        self.rows += len(states)
        self.strange += int((familiar < self.usual).sum())

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks no longer."""
        if self.handle is not None:
            self.handle.remove()


def line(rows: int, strange: int) -> str:
    """What a prediction ends with; empty if nothing was seen.

    >>> line(200, 6)
    '3.0 % of rows look unlike anything in training (1 % of its own do)'
    """
    if not rows:
        return ""
    percent = 100 * strange / rows
    share, own = f"{percent:.{0 if percent >= 10 else 1}f} %", f"{100 * UNUSUAL:g} %"
    return f"{share} of rows look unlike anything in training ({own} of its own do)"
